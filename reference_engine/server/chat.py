"""Chat messages to token ids, through the checkpoint's own chat template, with placement by provenance.

Special tokens come from the template alone. One that somebody typed into a message is text: it is hidden from the
template behind a private mark, and tokenized as the plain characters it is. Where nobody typed one, the rendered
text is tokenized as it stands.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Sequence
from typing import Any

from jinja2 import TemplateError

from reference_engine.errors import RequestError
from reference_engine.server.media import Media
from reference_engine.server.messages import ImagePart, Message, TextPart, Tool, ToolCall, VideoPart, VideoUrlPart
from reference_engine.server.protocol import ChatBody, VideoBody
from reference_engine.tokenizer import Codec, without_tokenizer

AnyPart = TextPart | ImagePart | VideoPart | VideoUrlPart


class ChatPrompts:
    """The chat side of one tokenizer. Safe to call from several threads."""

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self._ids = codec.special
        reserved = sorted(map(re.escape, self._ids), key=len, reverse=True)
        self._reserved = re.compile(f"({'|'.join(reserved)})") if reserved else re.compile(r"((?!))")
        beginnings = {token[:length] for token in self._ids for length in range(1, len(token))}
        ends = sorted(map(re.escape, beginnings), key=len, reverse=True)
        self._typed = re.compile("|".join([*reserved, *(f"(?:{end})\\Z" for end in ends)]) or r"(?!)")

    def ids(self, messages: Sequence[Message], tools: Sequence[Tool] | None = None) -> list[int]:
        """The prompt's ids, one placeholder an image or video. :class:`RequestError` if the template refuses them."""
        tools_length = sum(len(tool.model_dump_json()) for tool in tools or ())
        self._codec.check_length(tools_length + sum(map(_characters, messages)), "messages")
        mark = _Mark(self._typed)
        described = [mark.hide_all(tool.model_dump(exclude_none=True)) for tool in tools or ()]
        for_template = [_for_template(message, f"messages[{i}]", mark) for i, message in enumerate(messages)]
        rendered = self.render(for_template, described or None)
        if not mark.hidden:
            return self._codec.encode(rendered)
        ids: list[int] = []
        for i, piece in enumerate(self._reserved.split(rendered)):
            ids += [self._ids[piece]] if i % 2 else self._codec.encode_plain(mark.show(piece))
        return ids

    def render(self, messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None = None) -> str:
        tokenizer = self._codec.tokenizer
        if tokenizer is None:
            raise without_tokenizer("messages", "send input_ids beside them")
        if not tokenizer.chat_template:
            raise RequestError("messages", "the checkpoint has no chat template; use /generate")
        if tools and "tools" not in tokenizer.get_chat_template(tools=tools):
            raise RequestError("tools", "the checkpoint's chat template has no place for them", status=422)
        try:
            return tokenizer.apply_chat_template(messages, tools=tools, tokenize=False, add_generation_prompt=True)
        except (TemplateError, TypeError, ValueError) as error:
            raise RequestError("messages", f"the chat template refuses them: {error}") from None


def _characters(message: Message) -> int:
    parts = [message.content] if isinstance(message.content, str) else message.content or ()
    return sum(len(part if isinstance(part, str) else part.text) for part in parts if isinstance(part, (str, TextPart)))


def chat_ids(body: ChatBody, prompts: ChatPrompts) -> list[int]:
    """The caller's own ids, which outrank whatever the messages say (sglang#23751); else those of the messages."""
    if body.input_ids is not None:
        return list(body.input_ids)
    return prompts.ids(body.messages, None if body.tool_choice == "none" else body.tools)


class _Mark:
    """Hides typed special tokens, and text that could begin one at the end of a part, for the time of one rendering."""

    def __init__(self, typed: re.Pattern[str]) -> None:
        self._typed = typed
        self._nonce = secrets.token_hex(16)
        self.hidden: list[str] = []

    def hide(self, text: str) -> str:
        return self._typed.sub(self._replace, text)

    def hide_all(self, value: Any) -> Any:
        """The same for every text in JSON, keys too."""
        if isinstance(value, str):
            return self.hide(value)
        if isinstance(value, list):
            return [self.hide_all(item) for item in value]
        if isinstance(value, dict):
            return {self.hide(key): self.hide_all(item) for key, item in value.items()}
        return value

    def show(self, text: str) -> str:
        return re.sub(rf"\ue000{self._nonce}:(\d+)\ue000", lambda found: self.hidden[int(found[1])], text)

    def _replace(self, found: re.Match[str]) -> str:
        self.hidden.append(found[0])
        return f"\ue000{self._nonce}:{len(self.hidden) - 1}\ue000"


def _for_template(message: Message, field: str, mark: _Mark) -> dict[str, Any]:
    content = message.content
    made: dict[str, Any] = {"role": message.role}
    if isinstance(content, list):
        made["content"] = [_part(part, mark) for part in content]
    else:
        made["content"] = None if content is None else mark.hide(content)
    if message.tool_calls:
        calls = enumerate(message.tool_calls)
        made["tool_calls"] = [_call(call, f"{field}.tool_calls[{i}]", mark) for i, call in calls]
    for name in ("name", "tool_call_id"):
        if (value := getattr(message, name)) is not None:
            made[name] = mark.hide(value)
    return made


def _call(call: ToolCall, field: str, mark: _Mark) -> dict[str, Any]:
    """Templates want arguments as an object, OpenAI's clients send them as text."""
    try:
        arguments = json.loads(call.function.arguments)
    except (ValueError, RecursionError):
        arguments = None
    if not isinstance(arguments, dict):
        raise RequestError(f"{field}.function.arguments", "is not the text of a JSON object")
    function = {"name": call.function.name, "arguments": arguments}
    return mark.hide_all(call.model_dump(include={"id", "type"}, exclude_none=True) | {"function": function})


def _part(part: AnyPart, mark: _Mark) -> dict[str, Any]:
    if isinstance(part, TextPart):
        return {"type": "text", "text": mark.hide(part.text)}
    return {"type": "image" if isinstance(part, ImagePart) else "video"}


def media_of(messages: Sequence[Message]) -> Media:
    """Every image and video, in the order of the parts, and the name of the field that holds it."""
    parts = [
        (part, f"messages[{m}].content[{p}]")
        for m, message in enumerate(messages)
        for p, part in enumerate(message.content or ())
        if not isinstance(part, str)
    ]
    images = [(part.image_url.url, f"{at}.image_url.url") for part, at in parts if isinstance(part, ImagePart)]
    videos = [_video(part, at) for part, at in parts if isinstance(part, (VideoPart, VideoUrlPart))]
    return Media(
        images=[source for source, _ in images],
        image_fields=[field for _, field in images],
        videos=[video for video, _ in videos],
        video_fields=[field for _, field in videos],
    )


def _video(part: VideoPart | VideoUrlPart, at: str) -> tuple[VideoBody, str]:
    if isinstance(part, VideoPart):
        return VideoBody(frames=part.video, fps=part.fps), f"{at}.video"
    return VideoBody(frames=part.video_url.url, fps=part.fps), f"{at}.video_url.url"
