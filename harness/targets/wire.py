"""Forms that several engines share on the wire: pictures as data URIs, errors, SGLang's ``/generate``, OpenAI's
choices.

What an engine does not say stays empty; nothing is made up in its place.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import zip_longest
from typing import Any

from harness.observation import Observation, Prompt, Scored, words_of_error
from harness.targets.base import Call, StreamEvent, Target

MOST_WORDS = 2000
TOP = 3
"""Likeliest tokens that are asked for in each place of a prompt."""


def data_uris(prompt: Prompt) -> list[str]:
    return [picture.data_uri for picture in prompt.pictures]


def chat_messages(prompt: Prompt) -> list[dict[str, Any]]:
    """One turn as OpenAI words it: the pictures, then the question."""
    pictures = [{"type": "image_url", "image_url": {"url": uri}} for uri in data_uris(prompt)]
    return [{"role": "user", "content": [*pictures, {"type": "text", "text": prompt.question}]}]


def generate_body(prompt: Prompt, *, stream: bool, **wishes: bool) -> dict[str, Any]:
    """A greedy request as SGLang words it."""
    sampling = {"temperature": 0.0, "max_new_tokens": prompt.max_new_tokens, "ignore_eos": prompt.ignore_eos}
    body = {"input_ids": list(prompt.ids), "image_data": data_uris(prompt), "sampling_params": sampling}
    return body | {name: True for name, wish in {**wishes, "stream": stream}.items() if wish}


def generated(prompt: Prompt, setting: str, status: int, body: Any) -> Observation | None:
    """What every engine that answers as SGLang does tells; None if that is no such answer."""
    if status != 200 or not isinstance(body, Mapping) or "meta_info" not in body:
        return None
    meta = body["meta_info"]
    return Observation(
        request=prompt.name,
        setting=setting,
        status=status,
        text=body.get("text") or "",
        output_ids=tuple(body.get("output_ids") or ()),
        logprobs=tuple(logprob for logprob, *_ in meta.get("output_token_logprobs") or ()),
        finish=(meta.get("finish_reason") or {}).get("type", ""),
        prompt_tokens=meta.get("prompt_tokens"),
        scored=_scored(meta.get("input_token_logprobs") or (), meta.get("input_top_logprobs") or ()),
    )


def _scored(told: Sequence[Any], tops: Sequence[Any]) -> tuple[Scored | None, ...]:
    """Triples of log-probability, id and text, null in place of the first."""
    return tuple(
        None if one is None or one[0] is None else Scored(one[1], one[0], tuple((id_, p) for p, id_, *_ in top or ()))
        for one, top in zip_longest(told, tops[: len(told)])
    )


def failure(prompt: Prompt, setting: str, status: int, body: Any) -> Observation:
    """A refusal, in the engine's own words."""
    message = words_of_error(body)[:MOST_WORDS]
    return Observation(prompt.name, setting, status, error=message or f"HTTP {status}")


class GenerateTarget(Target):
    """What engines that speak SGLang's ``/generate`` have in common: streams and choices."""

    def read_event(self, event: Mapping[str, Any]) -> StreamEvent:
        meta = event.get("meta_info") or {}
        return StreamEvent(meta.get("completion_tokens"), meta.get("prompt_tokens"))

    def read_stream(self, prompt: Prompt, setting: str, events: Sequence[Mapping[str, Any]]) -> Observation:
        """Events carry everything so far: the last one is the answer. An error in midstream is the request's."""
        if not events:
            return failure(prompt, setting, 200, "the stream held no event")
        return self.read(prompt, setting, 200, events[-1])

    def with_scores(self, call: Call) -> Call:
        wishes = {"return_logprob": True, "logprob_start_len": 0, "top_logprobs_num": TOP}
        return Call(call.path, {**call.body, **wishes})

    def with_choices(self, call: Call, n: int) -> Call:
        sampling = {**call.body["sampling_params"], "n": n}
        return Call(call.path, {**call.body, "sampling_params": sampling})

    def read_choices(self, prompt: Prompt, setting: str, status: int, body: Any) -> list[Observation]:
        return [self.read(prompt, setting, status, one) for one in (body if isinstance(body, list) else [body])]

    def chat_of_ids(self, prompt: Prompt, *, choices: int = 1, stream: bool = False, wishes: bool = True) -> Call:
        """SGLang's, since 0.5.13."""
        body: dict[str, Any] = {"messages": chat_messages(prompt), "input_ids": list(prompt.ids)}
        body |= {"max_tokens": prompt.max_new_tokens, "temperature": 0.0, "logprobs": True, "n": choices}
        if wishes:
            body |= {"return_prompt_token_ids": True, "return_meta_info": True}
        return Call("/v1/chat/completions", body | ({"stream": True} if stream else {}))


class ChoicesTarget(Target):
    """What engines whose answers hold ``choices`` and ``usage``, as OpenAI's do, have in common."""

    def whole(self, prompt: Prompt, setting: str, body: Mapping[str, Any]) -> Observation:
        """What such an answer tells of its prompt, before any choice."""
        return Observation(
            request=prompt.name,
            setting=setting,
            status=200,
            prompt_tokens=(body.get("usage") or {}).get("prompt_tokens"),
            prompt_ids=id_tuple(body.get("prompt_token_ids")),
        )

    def read(self, prompt: Prompt, setting: str, status: int, body: Any) -> Observation:
        return self.read_choices(prompt, setting, status, body)[0]

    def read_choices(self, prompt: Prompt, setting: str, status: int, body: Any) -> list[Observation]:
        if status != 200 or not isinstance(body, Mapping) or not body.get("choices"):
            return [failure(prompt, setting, status, body)]
        whole = self.whole(prompt, setting, body)
        return [_with_choice(whole, one) for one in sorted(body["choices"], key=lambda one: one.get("index") or 0)]

    def read_event(self, event: Mapping[str, Any]) -> StreamEvent:
        usage = event.get("usage") or {}
        return StreamEvent(usage.get("completion_tokens"), usage.get("prompt_tokens"))

    def read_stream(self, prompt: Prompt, setting: str, events: Sequence[Mapping[str, Any]]) -> Observation:
        """Each event carries what is new of the one choice; the first one the prompt as run, one of the last the
        count.
        """
        if (broken := next((event for event in events if "error" in event), None)) is not None:
            return failure(prompt, setting, 200, broken)
        parts = [choice for event in events for choice in event.get("choices") or ()]
        if not parts:
            return failure(prompt, setting, 200, "the stream held no choice")
        choice = {
            "text": "".join(map(_text, parts)),
            "token_ids": [token for part in parts for token in part.get("token_ids") or ()],
            "finish_reason": next((end for part in reversed(parts) if (end := part.get("finish_reason"))), None),
            "logprobs": {"content": [token for part in parts for token in _told(part)]},
        }
        usage = next((event["usage"] for event in reversed(events) if event.get("usage")), None)
        return self.read(prompt, setting, 200, {**events[0], "usage": usage, "choices": [choice]})


def _with_choice(whole: Observation, choice: Mapping[str, Any]) -> Observation:
    return replace(
        whole,
        text=_text(choice),
        output_ids=id_tuple(choice.get("token_ids")) or (),
        logprobs=tuple(token["logprob"] for token in _told(choice)),
        finish=choice.get("finish_reason") or "",
    )


def _text(choice: Mapping[str, Any]) -> str:
    """Of a choice, a chat's, or a part of one."""
    return (choice.get("message") or choice.get("delta") or {}).get("content") or choice.get("text") or ""


def _told(choice: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """What a choice, or a part of one, says of its tokens."""
    return (choice.get("logprobs") or {}).get("content") or ()


def id_tuple(ids: Sequence[int] | None) -> tuple[int, ...] | None:
    return None if ids is None else tuple(ids)


def free_port(host: str) -> int:
    """For engines that cannot choose one themselves. Another program may take it before they do."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])
