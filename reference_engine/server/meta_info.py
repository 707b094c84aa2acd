"""``meta_info``: what ``/generate`` tells of an answer beside its text, and chat on request, in SGLang's shape.

What was not asked for is left out; no field is null but the finish reason of an answer that still runs.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from reference_engine.request import Answer, TokenLogprob
from reference_engine.server.worker import Prepared


def running_meta(request_id: str, prompt: int, completion: int, arrival: float) -> dict[str, Any]:
    """Of an answer that goes on. ``arrival`` is what ``time.perf_counter`` said then."""
    return _meta(request_id, prompt, completion, None, arrival)


def answer_meta(answer: Answer, prepared: Prepared, arrival: float) -> dict[str, Any]:
    """Of a finished answer, with log-probabilities and evidence if the request wanted them."""
    reason = finish_reason(answer)
    meta = _meta(answer.request_id, answer.prompt_tokens, answer.completion_tokens, reason, arrival)
    if answer.token_logprobs is not None:
        meta |= _logprobs("output", answer.output_ids, answer.token_logprobs, prepared.request.top_logprobs)
    if answer.prompt_logprobs is not None:
        ids = prepared.prompt.ids[prepared.request.logprob_start :][: len(answer.prompt_logprobs)]
        meta |= _logprobs("input", ids, answer.prompt_logprobs, prepared.request.top_logprobs)
    if answer.evidence is not None:
        meta["evidence"] = asdict(answer.evidence)
    return meta


def _logprobs(side: str, ids: Sequence[int], made: Sequence[TokenLogprob | None], top: int) -> dict[str, Any]:
    """As SGLang writes them: triples of log-probability, id, no text. Null where there is none."""
    pairs = list(zip(ids, made, strict=True))
    found: dict[str, Any] = {
        f"{side}_token_logprobs": [[None if one is None else one.logprob, token, None] for token, one in pairs]
    }
    if top:
        alternatives = [None if one is None else [[p, other, None] for other, p in one.top] for _, one in pairs]
        found[f"{side}_top_logprobs"] = alternatives
    return found


def finish_reason(answer: Answer) -> dict[str, Any]:
    """SGLang's: what was matched beside "stop", how many tokens beside "length"."""
    told: dict[str, Any] = {"type": answer.finish_reason}
    if answer.finish_reason == "length":
        return told | {"length": answer.completion_tokens}
    return told if answer.matched is None else told | {"matched": answer.matched}


def given(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Without the fields that are None: what was not asked for must not be there as null (sglang#23751)."""
    return {name: value for name, value in fields.items() if value is not None}


def meta_fields(meta: Mapping[str, Any]) -> Mapping[str, Any]:
    """What is told of a finished answer: all of it."""
    return meta


def _meta(
    request_id: str, prompt: int, completion: int, reason: dict[str, Any] | None, arrival: float
) -> dict[str, Any]:
    return {
        "id": request_id,
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "finish_reason": reason,
        "e2e_latency": time.perf_counter() - arrival,
    }
