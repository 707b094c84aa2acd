"""``POST /v1/completions``: prompts of text or of ids to engine requests, and answers to OpenAI's older shape.

A list of prompts gets ``n`` choices a prompt, those of the first prompt first; ``index`` is the place in that list. In
``logprobs`` tokens that are spelled the same share an entry of ``top_logprobs``, which the shape cannot tell apart, and
``text_offset`` counts in the text as generated, before a stop string was cut. With ``echo`` text and ``logprobs`` begin
with the prompt's, special tokens written out; the first token's log-probability is null.
"""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import accumulate
from typing import Any

from reference_engine.errors import RequestError
from reference_engine.request import Answer, Request, StepOutput, TokenLogprob
from reference_engine.server.errors import error_body
from reference_engine.server.field_types import read
from reference_engine.server.latencies import Key
from reference_engine.server.meta_info import given
from reference_engine.server.openai import (
    UsageSoFar,
    check_model,
    check_stream,
    sampling_name,
    tokens_told,
    usage,
    wire_sampling,
)
from reference_engine.server.protocol import CompletionBody
from reference_engine.server.worker import Prepared, ServedEngine
from reference_engine.tokenizer import Codec, without_tokenizer

_PROMPT = re.compile(r"(text|input_ids)(?=$|\[)")


def read_completions(raw: bytes, engine: ServedEngine, max_batch: int) -> CompletionCall:
    """Everything that can be known to be wrong is refused here, naming the field as it was sent."""
    arrival = time.perf_counter()
    body = read(CompletionBody, raw)
    check_stream(body, "return_prompt_token_ids", "return_meta_info", "echo")
    check_model(body.model, engine)
    if body.echo and engine.codec.tokenizer is None:
        raise without_tokenizer("echo", "ask for return_prompt_token_ids")
    prompts, batched = _prompts(body.prompt)
    if not 1 <= len(prompts) <= max_batch:
        raise RequestError("prompt", f"{len(prompts)} prompts; from 1 to {max_batch} can be sent")
    rids = _rids(body.rid, len(prompts), batched)
    prepared = [_prepare(body, prompt, engine, rids[i], i if batched else None) for i, prompt in enumerate(prompts)]
    return CompletionCall(body, prepared, engine, arrival)


def _prompts(prompt: str | list[Any]) -> tuple[Sequence[str | list[int]], bool]:
    """The prompts, and whether a list of them was sent."""
    if isinstance(prompt, str) or (prompt and isinstance(prompt[0], int)):
        return [prompt], False
    return prompt, True


def _rids(rid: str | list[str] | None, count: int, batched: bool) -> list[str]:
    if rid is None:
        return [f"cmpl-{uuid.uuid4().hex}" for _ in range(count)]
    if isinstance(rid, str) == batched or (not isinstance(rid, str) and len(rid) != count):
        raise RequestError(
            "rid", f"send a list with an entry for each of {count} prompts" if batched else "not one name"
        )
    return [rid] if isinstance(rid, str) else rid


def _prepare(
    body: CompletionBody, prompt: str | list[int], engine: ServedEngine, rid: str, place: int | None
) -> Prepared:
    try:
        request = Request(
            request_id=rid,
            text=prompt if isinstance(prompt, str) else None,
            input_ids=None if isinstance(prompt, str) else prompt,
            sampling=wire_sampling(body),
            want_evidence=body.return_evidence,
            want_logprobs=body.logprobs is not None,
            top_logprobs=body.logprobs or 0,
            logprob_start=0 if body.echo and body.logprobs is not None else None,
        )
        return Prepared(request, engine.prepare(request))
    except RequestError as error:
        raise RequestError(_renamed(error.field, place, body), error.message, status=error.status) from None


def _renamed(field: str, place: int | None, body: CompletionBody) -> str:
    """The engine's name of a field as a client spells it here."""
    if field == "top_logprobs":
        return "logprobs"
    return sampling_name(_PROMPT.sub("prompt" if place is None else f"prompt[{place}]", field, count=1), body)


class CompletionCall:
    def __init__(
        self, body: CompletionBody, prepared: Sequence[Prepared], engine: ServedEngine, arrival: float
    ) -> None:
        self.prepared = prepared
        self.stream = bool(body.stream)
        self._body, self._arrival, self._codec = body, arrival, engine.codec
        self._of = {one.request.request_id: one for one in prepared}
        self._usage = body.stream_options is not None and body.stream_options.include_usage
        keys = [key for one in prepared for key in one.keys]
        self._places: dict[Key, int] = {key: place for place, key in enumerate(keys)}
        self._logprobs = [_Logprobs(engine.codec) if body.logprobs is not None else None for _ in keys]
        self._answers: list[Answer] = []
        self._so_far = UsageSoFar(body)
        head = {"id": prepared[0].request.request_id, "created": int(time.time()), "model": engine.config.model}
        self._head = head | {"object": "text_completion"}

    def reply(self, answers: Sequence[Answer]) -> tuple[int, Mapping[str, Any]]:
        if all(answer.error is not None for answer in answers):
            return answers[0].error.status if answers[0].error else 500, self._failure(answers[0])
        choices = []
        for answer in answers:
            text, made = answer.text, list(zip(answer.output_ids, answer.token_logprobs or (), strict=False))
            echoed = self._echo(answer) if self._body.echo else None
            choice = self._choice(answer.request_id, answer.index, text, made, answer)
            if echoed is not None:
                choice = _joined(echoed, choice)
            choices.append(choice | given(tokens_told(self._body, answer, self._of[answer.request_id], self._arrival)))
        return 200, self._head | {"choices": choices, "usage": usage(answers)}

    def _echo(self, answer: Answer) -> dict[str, Any]:
        """The prompt, as text and with its log-probabilities."""
        prepared = self._of[answer.request_id]
        ids, written = prepared.prompt.ids, self._codec.written()
        pieces = [written.push(token) for token in ids]
        pieces.append(written.finish())
        logprobs = self._logprobs[self._places[answer.request_id, answer.index]]
        made = list(zip(ids, answer.prompt_logprobs or (), strict=False))
        text = prepared.request.text
        return {
            "text": "".join(pieces) if text is None else text,
            "logprobs": None if logprobs is None else logprobs.after(made, pieces),
        }

    def events(self, output: StepOutput) -> list[Mapping[str, Any]]:
        answer, made = output.answer, list(zip(output.new_ids, output.logprobs, strict=False))
        events: list[Mapping[str, Any]] = []
        if output.new_text or made or answer is not None:
            choice = self._choice(output.request_id, output.index, output.new_text, made, answer)
            events.append(self._head | {"choices": [choice]})
        events = self._so_far.added(events, output, len(self._of[output.request_id].prompt.ids))
        if answer is not None:
            self._answers.append(answer)
            if self._usage and len(self._answers) == len(self._places):
                events.append(self._head | {"choices": [], "usage": usage(self._answers)})
        return events

    def _choice(
        self, request_id: str, index: int, text: str, made: Sequence[tuple[int, TokenLogprob]], answer: Answer | None
    ) -> dict[str, Any]:
        """One choice, or what a step adds to it."""
        place = self._places[request_id, index]
        logprobs = self._logprobs[place]
        choice = {
            "index": place,
            "text": text,
            "logprobs": None if logprobs is None else logprobs.take(made),
            "finish_reason": None if answer is None else answer.finish_reason,
        }
        return choice if answer is None else choice | self._failure(answer) | _evidence(answer)

    def _failure(self, answer: Answer) -> dict[str, Any]:
        if answer.error is None:
            return {}
        place = self._places[answer.request_id, 0] if len(self.prepared) > 1 else None
        return error_body(
            RequestError(
                _renamed(answer.error.field, place, self._body), answer.error.message, status=answer.error.status
            )
        )


class _Logprobs:
    """OpenAI's four lists for the tokens of one choice, as they come."""

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self._text = codec.detokenizer()
        self._length = 0

    def after(self, made: Sequence[tuple[int, TokenLogprob | None]], pieces: Sequence[str]) -> dict[str, list[Any]]:
        """The same for the prompt, whose tokens added these pieces; the answer comes after it."""
        lengths = [len(piece) for piece in pieces]
        self._length = sum(lengths)
        return {
            "tokens": [self._codec.name(token) for token, _ in made],
            "token_logprobs": [None if one is None else one.logprob for _, one in made],
            "top_logprobs": [None if one is None else self._likeliest(token, one) for token, one in made],
            "text_offset": list(accumulate(lengths, initial=0))[: len(made)],
        }

    def take(self, made: Sequence[tuple[int, TokenLogprob]]) -> dict[str, list[Any]]:
        name = self._codec.name
        offsets = []
        for token, _ in made:
            offsets.append(self._length)
            self._length += len(self._text.push(token))
        return {
            "tokens": [name(token) for token, _ in made],
            "token_logprobs": [one.logprob for _, one in made],
            "top_logprobs": [self._likeliest(token, one) for token, one in made],
            "text_offset": offsets,
        }

    def _likeliest(self, token: int, one: TokenLogprob) -> dict[str, float]:
        """The likeliest first; the token itself is among them, if only as the last."""
        found: dict[str, float] = {}
        for other, logprob in (*one.top, (token, one.logprob)):
            found.setdefault(self._codec.name(other), logprob)
        return found


def _joined(echoed: Mapping[str, Any], choice: Mapping[str, Any]) -> dict[str, Any]:
    """The prompt, then the answer."""
    before, after = echoed["logprobs"], choice["logprobs"]
    both = None if before is None else {name: before[name] + after[name] for name in before}
    return {**choice, "text": echoed["text"] + choice["text"], "logprobs": both}


def _evidence(answer: Answer) -> dict[str, Any]:
    return {} if answer.evidence is None else {"assay_evidence": asdict(answer.evidence)}
