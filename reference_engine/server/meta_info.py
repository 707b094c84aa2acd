"""``meta_info``: what ``/generate`` tells of an answer beside its text, and chat on request, in SGLang's shape.

What was not asked for is left out; no field is null but the finish reason of an answer that still runs.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from reference_engine.request import Answer


def running_meta(request_id: str, prompt: int, completion: int, arrival: float) -> dict[str, Any]:
    """Of an answer that goes on. ``arrival`` is what ``time.perf_counter`` said then."""
    return _meta(request_id, prompt, completion, None, arrival)


def answer_meta(answer: Answer, arrival: float) -> dict[str, Any]:
    """Of a finished answer, with log-probabilities and evidence if the request wanted them."""
    reason = finish_reason(answer)
    meta = _meta(answer.request_id, answer.prompt_tokens, answer.completion_tokens, reason, arrival)
    if answer.token_logprobs is not None:
        pairs = list(zip(answer.token_logprobs, answer.output_ids, strict=True))
        meta["output_token_logprobs"] = [_triple(token, one.logprob) for one, token in pairs]
        if any(one.top for one, _ in pairs):
            meta["output_top_logprobs"] = [[_triple(*other) for other in one.top] for one, _ in pairs]
    if answer.evidence is not None:
        meta["evidence"] = asdict(answer.evidence)
    return meta


def _triple(token: int, logprob: float) -> list[Any]:
    """As SGLang writes it: log-probability, id, no text."""
    return [logprob, token, None]


def finish_reason(answer: Answer) -> dict[str, Any]:
    matched = {} if answer.matched is None else {"matched": answer.matched}
    return {"type": answer.finish_reason} | matched


def given(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Without the fields that are None: what was not asked for must not be there as null (sglang#23751)."""
    return {name: value for name, value in fields.items() if value is not None}


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
