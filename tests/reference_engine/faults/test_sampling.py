"""Each fault of sampling is seen by a comparison that the clean engine passes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from reference_engine import Request, SamplingParams
from reference_engine.faults import plant

IMAGE = "<|vision_start|><|image_pad|><|vision_end|>"
DRAWN = SamplingParams(max_new_tokens=6, temperature=2.0, seed=3, ignore_eos=True)


def scored(engine: Any, picture: Any, start: int) -> Any:
    """(positions there are, their values, how many values), of a prompt with an image first."""
    text, one = f"{IMAGE}read the last digit of every row", SamplingParams(max_new_tokens=1)
    request = Request("a", text=text, images=[picture((84, 56), 1)], sampling=one, want_logprobs=True)
    request.logprob_start = start
    [answer] = engine.generate([request])
    made = answer.prompt_logprobs
    return answer.prompt_tokens - start, [round(p.logprob, 3) if p else None for p in made], len(made)


def batch(engine: Any, picture: Any) -> bool:
    requests = [Request(str(i), text=text, sampling=DRAWN) for i, text in enumerate(("hello", "read", "image row"))]
    alone = [engine.generate([request])[0].output_ids for request in requests]
    return [answer.output_ids for answer in engine.generate(requests)] == alone


def positions(engine: Any, picture: Any) -> bool:
    whole, later = scored(engine, picture, 0), scored(engine, picture, 9)
    return later[0] == later[2] and later[1] == whole[1][9:]


def warmth(engine: Any, picture: Any) -> bool:
    engine.flush_cache()
    return scored(engine, picture, 0) == scored(engine, picture, 0)


def chunks(engine: Any, picture: Any) -> bool:
    engine.flush_cache()
    chunked = scored(engine, picture, 0)
    engine.flush_cache()
    engine.scheduler.config = engine.config.with_(chunked_prefill=0)
    return chunked == scored(engine, picture, 0)


SEEN_BY: dict[str, Callable[[Any, Any], bool]] = {
    "draw-by-row": batch, "F3-11": positions, "F3-20": chunks, "F3-21": warmth,
}  # fmt: skip


@pytest.mark.parametrize("fault", SEEN_BY)
def test_a_fault_is_seen_and_its_absence_is_not(lively: Any, picture: Any, monkeypatch: Any, fault: str) -> None:
    engine = lively.engine(chunked_prefill=5, block_size=4)
    monkeypatch.setattr(engine.scheduler, "config", engine.config)
    assert SEEN_BY[fault](engine, picture)
    monkeypatch.setattr(engine.scheduler, "config", engine.config)
    monkeypatch.setattr(engine, "seams", plant(fault))
    assert not SEEN_BY[fault](engine, picture)
