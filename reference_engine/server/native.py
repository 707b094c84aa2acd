"""``POST /generate``: from its body to engine requests, and from answers to SGLang's shape.

Streamed events carry the whole text and ids so far, as SGLang's do, so the last event equals the answer that is not
streamed. A list of prompts gets a list of answers, and so does a prompt with ``n`` above 1: the choices of the first
prompt, then those of the second. One of them may be an ``error``, with fields as if that prompt had been sent by
itself, while the others stand. Events of a list carry ``index``, the place in that list. An engine without a tokenizer
gives no ``text``.
"""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from reference_engine.errors import RequestError
from reference_engine.request import Answer, Request, StepOutput
from reference_engine.sampling_params import MAX_GRAMMAR, SamplingParams, grammar_of
from reference_engine.server.chat import ChatPrompts, media_of
from reference_engine.server.errors import error_body
from reference_engine.server.field_types import read
from reference_engine.server.images import Pictures
from reference_engine.server.limits import Limits
from reference_engine.server.media import Media
from reference_engine.server.messages import Message
from reference_engine.server.meta_info import answer_meta, running_meta
from reference_engine.server.protocol import GenerateBody, ProcessorOutputBody
from reference_engine.server.seams import CLEAN_SERVING, ServingSeams, every_field
from reference_engine.server.tensors import read_processor_output
from reference_engine.server.worker import Prepared, ServedEngine

_WIRE_NAMES = {"top_logprobs": "top_logprobs_num", "logprob_start": "logprob_start_len"}
_FROM_MESSAGES = re.compile(r"^(input_ids(\[\d+\])?|image_data|video_data)$")
_OWN_FIELD = re.compile(
    r"(text|input_ids|messages|rid|image_data|video_data|processor_output|sampling_params)(?=$|[^\w,])"
)


@dataclass(frozen=True)
class Prompt:
    """One prompt of a call. ``index`` is its place in a list of prompts; None if it was sent by itself."""

    index: int | None
    text: str | None
    ids: list[int] | None
    messages: list[Message] | None
    rid: str | None
    media: Media
    processor_output: ProcessorOutputBody | None
    sampling: SamplingParams
    own_sampling: bool
    """Whether a list of sampling parameters was sent, one for each prompt."""

    def named(self, field: str) -> str:
        """A field as the caller of the whole list spells it: ``input_ids[3]`` of prompt 1 is ``input_ids[1][3]``."""
        field = self.media.named(_WIRE_NAMES.get(field, field))
        if self.messages is not None:
            field = _FROM_MESSAGES.sub("messages", field)
        if self.index is None or (field.startswith("sampling_params") and not self.own_sampling):
            return field
        return _OWN_FIELD.sub(rf"\1[{self.index}]", field, count=1)


def read_generate(
    raw: bytes, engine: ServedEngine, prompts: ChatPrompts, limits: Limits, seams: ServingSeams = CLEAN_SERVING
) -> GenerateCall:
    """Everything that can be known to be wrong is refused here, naming the field as it was sent."""
    arrival = time.perf_counter()
    body = read(GenerateBody, raw)
    sent = spread(body, limits.max_batch, seams.sampling_of)
    _check_grammars([prompt.sampling for prompt in sent])
    pictures = Pictures(engine.config, limits, seams.load_image, seams.sources)
    prepared = [_prepare(prompt, body, engine, prompts, pictures) for prompt in sent]
    has_text = engine.codec.tokenizer is not None
    return GenerateCall(body, prepared, sent[0].index is not None, arrival, has_text, seams)


def spread(
    body: GenerateBody, max_batch: int, sampling_of: Callable[[SamplingParams], SamplingParams] = every_field
) -> list[Prompt]:
    """The prompts of a body, one or many. A list of prompts has lists of the same length beside it, or nothing."""
    _check_forms(body)
    texts, ids, chats = _many_texts(body.text), _many_ids(body.input_ids), _many_chats(body.messages)
    given = {
        name: many for name, many in (("text", texts), ("input_ids", ids), ("messages", chats)) if many is not None
    }
    if not given:
        return [_single(body)]
    [(field, count)] = [(name, len(many)) for name, many in given.items()]
    if not 1 <= count <= max_batch:
        raise RequestError(field, f"{count} prompts; from 1 to {max_batch} can be sent")
    own_sampling = isinstance(body.sampling_params, list)
    images = _entries("image_data", body.image_data, count)
    videos = _entries("video_data", body.video_data, count)
    outputs = _entries("processor_output", body.processor_output, count)
    rids = _entries("rid", body.rid, count)
    samplings = _entries("sampling_params", body.sampling_params, count, shared=True)
    return [
        Prompt(
            index=i,
            text=None if texts is None else texts[i],
            ids=None if ids is None else ids[i],
            messages=None if chats is None else chats[i],
            rid=rids[i],
            media=Media.listed(_listed(images[i]), _listed(videos[i])) if chats is None else media_of(chats[i]),
            processor_output=outputs[i],
            sampling=sampling_of(samplings[i] or SamplingParams()),
            own_sampling=own_sampling,
        )
        for i in range(count)
    ]


def _check_forms(body: GenerateBody) -> None:
    forms = [name for name in ("text", "input_ids", "messages") if getattr(body, name) is not None]
    if len(forms) > 1 or (not forms and not isinstance(body.processor_output, ProcessorOutputBody)):
        raise RequestError("text, input_ids, messages", "give exactly one of them")
    if body.messages is not None:
        for name in ("image_data", "video_data"):
            if getattr(body, name) is not None:
                raise RequestError(name, "was sent beside messages; send media as parts of them")
    elif body.tools is not None:
        raise RequestError("tools", "go through the chat template; send messages")


def _many_texts(text: str | list[str] | None) -> list[str] | None:
    return text if isinstance(text, list) else None


def _many_ids(ids: list[int] | list[list[int]] | None) -> list[list[int]] | None:
    return [part for part in ids if isinstance(part, list)] if ids and isinstance(ids[0], list) else None


def _many_chats(messages: list[Message] | list[list[Message]] | None) -> list[list[Message]] | None:
    return [part for part in messages if isinstance(part, list)] if messages and isinstance(messages[0], list) else None


def _single(body: GenerateBody) -> Prompt:
    if isinstance(body.sampling_params, list):
        raise RequestError("sampling_params", "a list was sent, but one prompt")
    sent = {"image_data": _listed(body.image_data), "video_data": _listed(body.video_data)}
    for name, items in sent.items():
        for i, item in enumerate(items):
            if item is None or isinstance(item, list):
                nested = "null and lists are entries only beside a list of prompts"
                raise RequestError(f"{name}[{i}]", f"not one {name[:5]}; {nested}")
    ids: Any = body.input_ids
    text = body.text if isinstance(body.text, str) else None
    if isinstance(body.processor_output, list):
        raise RequestError("processor_output", "a list was sent, but one prompt")
    sampling = body.sampling_params or SamplingParams()
    if isinstance(body.rid, list):
        raise RequestError("rid", "a list was sent, but one prompt")
    messages: Any = body.messages
    media = Media.listed(sent["image_data"], sent["video_data"]) if messages is None else media_of(messages)
    return Prompt(None, text, ids, messages, body.rid, media, body.processor_output, sampling, own_sampling=False)


def _entries(field: str, value: Any, count: int, *, shared: bool = False) -> list[Any]:
    if value is None or (shared and not isinstance(value, list)):
        return [value] * count
    if not isinstance(value, list) or len(value) != count:
        sent = f"{len(value)} entries" if isinstance(value, list) else "one value"
        raise RequestError(field, f"{sent} for {count} prompts; send a list with an entry for each")
    return value


def _listed(value: Any) -> list[Any]:
    return [] if value is None else value if isinstance(value, list) else [value]


def prompt_ids(prompt: Prompt, body: GenerateBody, prompts: ChatPrompts) -> list[int] | None:
    """The prompt's ids as sent, or those of its messages; None of a text."""
    if prompt.messages is None:
        return prompt.ids
    if not prompt.messages:
        raise RequestError("messages", "there are none; send at least one")
    return prompts.ids(prompt.messages, body.tools)


def _prepare(
    prompt: Prompt, body: GenerateBody, engine: ServedEngine, prompts: ChatPrompts, pictures: Pictures
) -> Prepared:
    try:
        prompt.media.check(engine)
        _check_lengths(prompt, engine)
        request = Request(
            request_id=prompt.rid or uuid.uuid4().hex,
            text=prompt.text,
            input_ids=prompt_ids(prompt, body, prompts),
            images=prompt.media.read_images(pictures),
            videos=prompt.media.read_videos(pictures),
            processor_output=read_processor_output(prompt.processor_output),
            sampling=prompt.sampling,
            want_evidence=body.return_evidence,
            want_logprobs=body.return_logprob,
            top_logprobs=body.top_logprobs_num,
            logprob_start=None if body.logprob_start_len == -1 else body.logprob_start_len,
        )
        return Prepared(request, engine.prepare(request))
    except RequestError as error:
        raise RequestError(prompt.named(error.field), error.message, status=error.status) from None


def _check_lengths(prompt: Prompt, engine: ServedEngine) -> None:
    """Before any image is decoded."""
    most = engine.config.max_prompt_tokens
    given = prompt.processor_output.input_ids if prompt.processor_output else ()
    for field, ids in (("input_ids", prompt.ids or ()), ("processor_output.input_ids", given)):
        if len(ids) > most:
            raise RequestError(field, f"{len(ids)} ids; at most {most}", status=413)


def _check_grammars(samplings: Sequence[SamplingParams]) -> None:
    """Each may take seconds to compile; those of a call together may take no more than one."""
    grammars = set(map(grammar_of, samplings)) - {None}
    size = sum(len(grammar[1]) for grammar in grammars if grammar)
    if len(grammars) > 1 and size > MAX_GRAMMAR:
        message = f"schemas and expressions of {size} characters in one call; at most {MAX_GRAMMAR}"
        raise RequestError("sampling_params", message, status=413)


class GenerateCall:
    def __init__(
        self, body: GenerateBody, prepared: Sequence[Prepared], batched: bool, arrival: float, has_text: bool,
        seams: ServingSeams = CLEAN_SERVING,
    ) -> None:  # fmt: skip
        self.prepared = prepared
        self.stream = body.stream
        self._body, self._has_text, self._arrival, self._seams = body, has_text, arrival, seams
        self._place = {key: i for i, key in enumerate(key for p in prepared for key in p.keys)}
        self._batched = batched or len(self._place) > 1
        self._text = [""] * len(self._place)
        self._ids: list[list[int]] = [[] for _ in self._place]
        self._of = {p.request.request_id: p for p in prepared}

    def reply(self, answers: Sequence[Answer]) -> tuple[int, Any]:
        if self._batched:
            return 200, [self._answer(answer) for answer in answers]
        error = answers[0].error
        return (200 if error is None else error.status), self._answer(answers[0])

    def events(self, output: StepOutput) -> list[dict[str, Any]]:
        place = self._place[output.request_id, output.index]
        self._text[place] += output.new_text
        self._ids[place] += output.new_ids
        event = self._so_far(output.request_id, place) if output.answer is None else self._answer(output.answer)
        return [event | {"index": place}] if self._batched else [event]

    def _so_far(self, request_id: str, place: int) -> dict[str, Any]:
        meta = running_meta(request_id, len(self._of[request_id].prompt.ids), len(self._ids[place]), self._arrival)
        return self._text_of(self._text[place]) | {"output_ids": list(self._ids[place]), "meta_info": meta}

    def _answer(self, answer: Answer) -> dict[str, Any]:
        meta = answer_meta(answer, self._of[answer.request_id], self._arrival)
        if self._body.return_prompt_token_ids:
            meta["prompt_token_ids"] = list(self._of[answer.request_id].prompt.ids)
        if answer.error is not None:
            return error_body(answer.error) | {"meta_info": meta}
        told = self._seams.meta_fields(meta)
        return self._text_of(answer.text) | {"output_ids": answer.output_ids, "meta_info": told}

    def _text_of(self, text: str) -> dict[str, str]:
        return {"text": text} if self._has_text else {}
