"""What is asked, as plain data, and what came of it, whichever server answered: chats in OpenAI's words, and prompts of
token ids by whatever way the server has for them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, ParamSpec

from harness.differential.seen import Choice, Seen
from harness.observation import Picture
from harness.probe.line import Answer

Part = str | Picture
P = ParamSpec("P")
TOPS = 5
"""Likeliest tokens that are asked for in each place."""


@dataclass(frozen=True)
class Ask:
    """A dialogue, its last turn the user's."""

    turns: tuple[tuple[str, tuple[Part, ...]], ...]
    max_tokens: int = 4
    options: tuple[tuple[str, Any], ...] = ()
    """Further fields of the body."""

    @classmethod
    def user(cls, *parts: Part, max_tokens: int = 4, **options: Any) -> Ask:
        return cls((("user", parts),), max_tokens, tuple(options.items()))

    def then(self, answer: str, *parts: Part) -> Ask:
        """The dialogue as it goes on."""
        return Ask((*self.turns, ("assistant", (answer,)), ("user", parts)), self.max_tokens, self.options)

    @property
    def pictures(self) -> list[Picture]:
        return [part for _, parts in self.turns for part in parts if isinstance(part, Picture)]

    def messages(self) -> list[dict[str, Any]]:
        return [{"role": role, "content": _content(parts)} for role, parts in self.turns]

    def body(self, wants: Mapping[str, Any]) -> dict[str, Any]:
        """Of ``/v1/chat/completions``. A wish of None leaves the field out."""
        options = dict(self.options)
        body = {"messages": self.messages(), "max_tokens": self.max_tokens, "temperature": 0.0}
        return {name: value for name, value in (body | dict(wants) | options).items() if value is not None}


def _content(parts: tuple[Part, ...]) -> Any:
    if len(parts) == 1 and isinstance(parts[0], str):
        return parts[0]
    return [
        {"type": "text", "text": part}
        if isinstance(part, str)
        else {"type": "image_url", "image_url": {"url": part.data_uri}}
        for part in parts
    ]


@dataclass
class Told(Choice):
    tokens: list[str] = field(default_factory=list)
    tops: list[dict[str, float]] = field(default_factory=list)
    """Of each place, what the server calls likeliest, the chosen token among them."""
    index: int | None = None


@dataclass
class Reply(Seen):
    told: list[Told] = field(default_factory=list)
    """``choices``, with what is known of each token."""
    usage: Mapping[str, Any] = field(default_factory=dict)
    prompt_ids: list[int] | None = None

    @property
    def first(self) -> Told:
        return self.told[0]


def _legible(read: Callable[P, Reply]) -> Callable[P, Reply]:
    """An answer of another form than it should have is a failure of the server's, and says what could not be read."""

    @wraps(read)
    def reading(*args: P.args, **kwargs: P.kwargs) -> Reply:
        try:
            return read(*args, **kwargs)
        except (AttributeError, TypeError, LookupError, ValueError) as error:
            return Reply(500, f"an answer that cannot be read ({type(error).__name__}: {error})")

    return reading


@_legible
def read_chat(answer: Answer) -> Reply:
    """A whole chat answer. What the server does not give stays empty."""
    if not answer.ok or not isinstance(answer.body, Mapping) or not answer.get("choices"):
        return Reply(answer.status if not answer.ok else 500, answer.told)
    reply = _reply([_told(choice, choice.get("message") or {}) for choice in answer.get("choices")], answer.body)
    reply.prompt_ids = _prompt_ids(answer.body, answer.get("choices")[0])
    return reply


def _reply(told: list[Told], body: Mapping[str, Any]) -> Reply:
    usage = body.get("usage") or {}
    tokens = usage.get("prompt_tokens")
    return Reply(200, "", list(told), tokens if isinstance(tokens, int) else 0, told=told, usage=usage)


def _prompt_ids(body: Mapping[str, Any], choice: Mapping[str, Any]) -> list[int] | None:
    found = body.get("prompt_token_ids") or choice.get("prompt_token_ids")
    found = found or (choice.get("meta_info") or {}).get("prompt_token_ids")
    return list(found) if found else None


def _told(choice: Mapping[str, Any], message: Mapping[str, Any]) -> Told:
    meta = choice.get("meta_info") or {}
    ids = choice.get("token_ids") or choice.get("response_token_ids") or meta.get("output_ids")
    ids = ids or [one[1] for one in meta.get("output_token_logprobs") or ()]
    told = Told(
        ids=list(ids),
        text=message.get("content") or "",
        finish=str(choice.get("finish_reason") or ""),
        index=choice.get("index"),
    )
    _add_logprobs(told, choice.get("logprobs"))
    return told


def _add_logprobs(told: Told, logprobs: Any) -> None:
    for one in (logprobs or {}).get("content") or ():
        value = one.get("logprob")
        told.tokens.append(str(one.get("token")))
        told.logprobs.append(math.nan if value is None else float(value))
        tops = {str(top.get("token")): top.get("logprob") for top in one.get("top_logprobs") or ()}
        told.tops.append({str(one.get("token")): value} | tops)


@_legible
def read_stream(answer: Answer) -> Reply:
    """A streamed chat answer, put together again from its pieces."""
    errors = [event for event in answer.events if "error" in event]
    if not answer.ok or errors or not answer.events:
        why = Answer(500, errors[0]).told if errors else answer.told or "no event came"
        return Reply(answer.status if not answer.ok else 500, why)
    by_index: dict[int, Told] = {}
    usage: Mapping[str, Any] = {}
    prompt_ids = None
    for event in answer.events:
        usage = event.get("usage") or usage
        for choice in event.get("choices") or ():
            prompt_ids = prompt_ids or _prompt_ids(event, choice)
            told = by_index.setdefault(choice.get("index", 0), Told(index=choice.get("index", 0)))
            piece = _told(choice, choice.get("delta") or {})
            told.text += piece.text
            told.finish = piece.finish or told.finish
            for name in ("ids", "tokens", "logprobs", "tops"):
                getattr(told, name).extend(getattr(piece, name))
    reply = _reply([told for _, told in sorted(by_index.items())], {"usage": usage})
    reply.prompt_ids = prompt_ids
    return reply


@dataclass(frozen=True)
class IdsWay:
    """A way to send token ids: where, and whether pictures can come along."""

    path: str
    pictures: bool
    wants: Mapping[str, Any] = field(default_factory=dict)

    def body(self, model: str, ids: Sequence[int], pictures: Sequence[Picture], max_tokens: int) -> dict[str, Any]:
        uris = [picture.data_uri for picture in pictures]
        if self.path == "/generate":
            sampling = {"temperature": 0.0, "max_new_tokens": max_tokens, "ignore_eos": True}
            images = {"image_data": uris} if uris else {}
            return (
                {"input_ids": list(ids), "sampling_params": sampling, "return_logprob": True}
                | images
                | dict(self.wants)
            )
        if self.path == "/v1/completions":
            return {"model": model, "prompt": list(ids), "max_tokens": max_tokens, "temperature": 0.0} | dict(
                self.wants
            )
        parts = [{"type": "image_url", "url": uri} for uri in uris]
        sampling = {"temperature": 0.0, "max_tokens": max_tokens, "ignore_eos": True}
        sent = {"model": model, "token_ids": list(ids), "sampling_params": sampling}
        return sent | ({"content_parts": parts} if parts else {}) | dict(self.wants)

    @_legible
    def read(self, answer: Answer) -> Reply:
        if self.path != "/generate":
            return _read_completion(answer)
        meta = answer.get("meta_info") or {}
        if not answer.ok or not meta:
            return Reply(answer.status if not answer.ok else 500, answer.told)
        logprobs = meta.get("output_token_logprobs") or ()
        told = Told(
            ids=list(answer.get("output_ids") or [one[1] for one in logprobs]),
            text=answer.get("text") or "",
            logprobs=[one[0] for one in logprobs],
            finish=str((meta.get("finish_reason") or {}).get("type", "")),
        )
        reply = _reply([told], {"usage": meta})
        reply.prompt_ids = meta.get("prompt_token_ids") or answer.get("prompt_token_ids")
        return reply


def _read_completion(answer: Answer) -> Reply:
    if not answer.ok or not answer.get("choices"):
        return Reply(answer.status if not answer.ok else 500, answer.told)
    choice = answer.get("choices")[0]
    told = _told({**choice, "logprobs": None}, {"content": choice.get("text")})
    reply = _reply([told], answer.body)
    reply.prompt_ids = _prompt_ids(answer.body, choice)
    return reply
