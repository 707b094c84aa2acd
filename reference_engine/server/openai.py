"""``POST /v1/chat/completions``: from its body to one engine request, and from its answer to OpenAI's shape.

With ``return_evidence`` the answer (or the last event of a choice) has an ``assay_evidence`` field beside OpenAI's own:
with ``n`` above 1, a list with an entry for each choice. A choice that fails among others has the ``error`` in it and
``finish_reason`` "error"; if all fail, the call does. Token in, token out (sglang#23751): ``input_ids`` is the prompt,
whatever the messages say, and images and videos still come from the messages; ``return_prompt_token_ids`` and
``return_meta_info`` tell of every choice what ran and what came.
"""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from reference_engine.errors import RequestError
from reference_engine.request import Answer, Request, StepOutput, TokenLogprob
from reference_engine.sampling_params import SamplingParams
from reference_engine.server.chat import ChatPrompts, media_of
from reference_engine.server.errors import error_body
from reference_engine.server.field_types import SAMPLING_FIELDS, engine_value, read
from reference_engine.server.images import Pictures
from reference_engine.server.latencies import Key
from reference_engine.server.limits import Limits
from reference_engine.server.media import Media
from reference_engine.server.meta_info import answer_meta
from reference_engine.server.protocol import OPENAI_NAMES, ChatBody, CompletionBody
from reference_engine.server.seams import CLEAN_SERVING, ServingSeams
from reference_engine.server.tensors import read_processor_output
from reference_engine.server.worker import Prepared, ServedEngine


def read_chat(
    raw: bytes, engine: ServedEngine, prompts: ChatPrompts, limits: Limits, seams: ServingSeams = CLEAN_SERVING
) -> ChatCall:
    """Everything that can be known to be wrong is refused here, naming the field as it was sent."""
    arrival = time.perf_counter()
    body = read(ChatBody, raw)
    _check_combinations(body)
    check_model(body.model, engine)
    media = media_of(body.messages)
    pictures = Pictures(engine.config, limits, seams.load_image, seams.sources)
    try:
        media.check(engine)
        request = Request(
            request_id=body.rid or f"chatcmpl-{uuid.uuid4().hex}",
            input_ids=seams.chat_ids(body, prompts),
            images=media.read_images(pictures),
            videos=media.read_videos(pictures),
            processor_output=read_processor_output(body.processor_output),
            sampling=chat_sampling(body),
            want_evidence=body.return_evidence,
            want_logprobs=bool(body.logprobs),
            top_logprobs=body.top_logprobs or 0,
            logprob_start=body.logprob_start_len,
        )
        return ChatCall(body, Prepared(request, engine.prepare(request)), engine, seams, arrival)
    except RequestError as error:
        raise RequestError(_renamed(error.field, media, body), error.message, status=error.status) from None


def check_model(model: str | None, engine: ServedEngine) -> None:
    if model is not None and model != engine.config.model:
        raise RequestError("model", f"{model!r} is not served here; known: {engine.config.model}", status=404)


def _check_combinations(body: ChatBody) -> None:
    if not body.messages and body.input_ids is None:
        raise RequestError("messages", "there are none; send at least one, or the prompt as input_ids")
    if body.tools and body.input_ids is not None:
        raise RequestError("tools", "go through the chat template, and input_ids outrank it; leave one of them out")
    if body.logprob_start_len is not None and not body.return_meta_info:
        raise RequestError("logprob_start_len", "needs return_meta_info: that is where prompt log-probabilities are")
    check_stream(body, "return_prompt_token_ids", "return_meta_info")


def check_stream(body: ChatBody | CompletionBody, *names: str) -> None:
    """Raises for fields that a stream does not give."""
    for name in names:
        if body.stream and getattr(body, name):
            raise RequestError(name, "is not given in a stream; set stream to false, or leave it out")


def chat_sampling(body: ChatBody) -> SamplingParams:
    if body.max_tokens is not None and body.max_completion_tokens not in (None, body.max_tokens):
        raise RequestError("max_tokens", "differs from max_completion_tokens; give one of them")
    if body.max_completion_tokens is None:
        return wire_sampling(body)
    return replace(wire_sampling(body), max_new_tokens=body.max_completion_tokens)


def wire_sampling(body: ChatBody | CompletionBody) -> SamplingParams:
    """The sampling fields that were given, each beside the others in an OpenAI body, and its ``response_format``."""
    given = {name: getattr(body, OPENAI_NAMES.get(name, name)) for name in SAMPLING_FIELDS}
    schema = None if body.response_format is None else body.response_format.schema_text
    if schema is not None and (given["json_schema"] is not None or given["regex"] is not None):
        raise RequestError("response_format", "was sent beside json_schema or regex; an answer is held to one of them")
    given |= {"json_schema": schema or given["json_schema"]}
    return SamplingParams(**{name: engine_value(name, value) for name, value in given.items() if value is not None})


def sampling_name(field: str, body: ChatBody | CompletionBody) -> str:
    """``sampling_params.top_k``, and so on, as it is spelled in an OpenAI body."""
    name = field.removeprefix("sampling_params.")
    if name == "json_schema" and body.response_format is not None:
        return "response_format"
    return OPENAI_NAMES.get(name, name)


def _renamed(field: str, media: Media, body: ChatBody) -> str:
    """The engine's name of a field as a chat client spells it."""
    field = media.named(field)
    if field == "sampling_params.max_new_tokens" and body.max_completion_tokens is not None:
        return "max_completion_tokens"
    is_prompt = field == "input_ids" or field.startswith("input_ids[")
    if field in ("image_data", "video_data") or (is_prompt and body.input_ids is None):
        return "messages"
    if field == "logprob_start":
        return "logprob_start_len"
    return sampling_name(field, body)


class ChatCall:
    def __init__(
        self, body: ChatBody, prepared: Prepared, engine: ServedEngine, seams: ServingSeams, arrival: float
    ) -> None:
        self.prepared = (prepared,)
        self.stream = bool(body.stream)
        self._body = body
        self._codec = engine.codec
        self._media = media_of(body.messages)
        self._head = {"id": prepared.request.request_id, "created": int(time.time()), "model": engine.config.model}
        self._seams, self._arrival = seams, arrival
        self._choices = prepared.request.sampling.n
        self._started: set[int] = set()
        self._answers: list[Answer] = []
        self._so_far = UsageSoFar(body)

    def reply(self, answers: Sequence[Answer]) -> tuple[int, Mapping[str, Any]]:
        if all(answer.error is not None for answer in answers):
            return answers[0].error.status if answers[0].error else 500, self._error(answers[0])
        choices = [self._choice(answer) for answer in answers]
        body = self._head | {"object": "chat.completion", "choices": choices, "usage": usage(answers)}
        return 200, body | self._evidence(answers)

    def _choice(self, answer: Answer) -> dict[str, Any]:
        choice = {
            "index": answer.index,
            "message": {"role": "assistant", "content": None if self._codec.tokenizer is None else answer.text},
            "logprobs": self._logprobs(answer.output_ids, answer.token_logprobs),
            "finish_reason": answer.finish_reason,
        }
        return choice | self._seams.given(self._told(answer)) | self._failure(answer)

    def _told(self, answer: Answer) -> dict[str, Any]:
        [prepared] = self.prepared
        return tokens_told(self._body, answer, prepared, self._arrival)

    def events(self, output: StepOutput) -> list[Mapping[str, Any]]:
        """The first one of a choice names the role; each carries the tokens that its text came with; the last one of
        all has the usage, if it was asked for."""
        answer, index = output.answer, output.index
        if answer is not None and answer.error is not None and self._choices == 1:
            return [self._error(answer)]
        events: list[Mapping[str, Any]] = []
        if index not in self._started:
            events.append(self._chunk(index, {"role": "assistant", "content": ""}))
            self._started.add(index)
        if output.new_text or output.logprobs:
            logprobs = self._logprobs(output.new_ids, output.logprobs or None)
            events.append(self._chunk(index, {"content": output.new_text}, logprobs=logprobs))
        if answer is not None:
            events.append(self._last_chunk(answer))
        [prepared] = self.prepared
        return self._so_far.added(events, output, len(prepared.prompt.ids)) + self._whole_usage()

    def _last_chunk(self, answer: Answer) -> Mapping[str, Any]:
        self._answers.append(answer)
        last = self._chunk(answer.index, {}, answer.finish_reason, failure=self._failure(answer))
        return last | self._evidence([answer])

    def _whole_usage(self) -> list[Mapping[str, Any]]:
        """After the last event of the last choice, if it was asked for."""
        options = self._body.stream_options
        if len(self._answers) < self._choices or options is None or not options.include_usage:
            return []
        return [self._head | {"object": "chat.completion.chunk", "choices": [], "usage": usage(self._answers)}]

    def _chunk(
        self, index: int, delta: Mapping[str, Any], reason: str | None = None, *, logprobs: Any = None,
        failure: dict[str, Any] | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        choice = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": reason} | (failure or {})
        return self._head | {"object": "chat.completion.chunk", "choices": [choice]}

    def _error(self, answer: Answer) -> dict[str, Any]:
        return self._failure(answer) | self._evidence([answer])

    def _failure(self, answer: Answer) -> dict[str, Any]:
        """``{"error": ...}`` in a chat client's words, or nothing."""
        error = answer.error
        if error is None:
            return {}
        return error_body(
            RequestError(_renamed(error.field, self._media, self._body), error.message, status=error.status)
        )

    def _evidence(self, answers: Sequence[Answer]) -> dict[str, Any]:
        found = [asdict(answer.evidence) for answer in answers if answer.evidence is not None]
        return {"assay_evidence": found if len(answers) > 1 else found[0]} if found else {}

    def _logprobs(self, ids: Sequence[int], logprobs: Sequence[TokenLogprob] | None) -> dict[str, Any] | None:
        """OpenAI's list, one entry a token, the end token included. ``bytes`` are those of a part of a
        character too."""
        if logprobs is None:
            return None
        return {"content": [self._token(i, one) for i, one in zip(ids, logprobs, strict=True)]}

    def _token(self, token: int, one: TokenLogprob) -> dict[str, Any]:
        top = [self._named(i) | {"logprob": value} for i, value in one.top]
        return self._named(token) | {"logprob": one.logprob, "top_logprobs": top}

    def _named(self, token: int) -> dict[str, Any]:
        return {"token": self._codec.name(token), "bytes": self._bytes(token)}

    def _bytes(self, token: int) -> list[int] | None:
        spellings = self._codec.spellings
        if spellings is None or token >= len(spellings.of):
            return None
        spelled = spellings.of[token]
        return list(spelled if isinstance(spelled, bytes) else spelled.encode())


class UsageSoFar:
    """``continuous_usage_stats``: how many tokens each choice has got, told in each of its events."""

    def __init__(self, body: ChatBody | CompletionBody) -> None:
        self._wanted = body.stream_options is not None and body.stream_options.continuous_usage_stats
        self._made: Counter[Key] = Counter()

    def added(self, events: list[Mapping[str, Any]], output: StepOutput, prompt: int) -> list[Mapping[str, Any]]:
        """The events of one step of one choice, with its usage if that is wanted."""
        key = output.request_id, output.index
        self._made[key] += len(output.new_ids)
        if not self._wanted:
            return events
        return [{**event, "usage": _usage(prompt, self._made[key])} for event in events]


def tokens_told(body: ChatBody | CompletionBody, answer: Answer, prepared: Prepared, arrival: float) -> dict[str, Any]:
    """What was asked for of the tokens themselves; None is to be left out."""
    meta = answer_meta(replace(answer, evidence=None), prepared, arrival) | {"output_ids": answer.output_ids}
    return {
        "prompt_token_ids": list(prepared.prompt.ids) if body.return_prompt_token_ids else None,
        "meta_info": meta if body.return_meta_info else None,
    }


def usage(answers: Sequence[Answer]) -> dict[str, int]:
    """Of all choices; a prompt counts once."""
    prompt = sum({answer.request_id: answer.prompt_tokens for answer in answers}.values())
    return _usage(prompt, sum(answer.completion_tokens for answer in answers))


def _usage(prompt: int, completion: int) -> dict[str, int]:
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
