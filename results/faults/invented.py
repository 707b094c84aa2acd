"""Three faults that no check was written for, as an author outside of Assay would plant them:

PYTHONPATH=results/faults assay faults run invented:stale_table_row invented:GRID_BEFORE invented:SHARED_STREAM
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from reference_engine import Engine, SamplingParams
from reference_engine.detokenizer import Detokenizer, TextStream
from reference_engine.faults import Fault
from reference_engine.live_request import open_stream
from reference_engine.multimodal import mrope


def stale_table_row(engine: Engine) -> None:
    """11: after a preemption, the row of the block table keeps the last block that it had"""
    cache, scheduler = engine.cache, engine.scheduler
    opened, preempted = cache.open, scheduler.preempt
    stale: dict[int, int] = {}

    def preempt(live: Any) -> None:
        stale[live.lane] = cache.lanes[live.lane][-1]
        preempted(live)

    def open_lane(tokens: int, shared: Sequence[int] = ()) -> int:
        lane = opened(tokens, shared)
        if lane in stale:
            cache._table[lane, len(cache.lanes[lane]) - 1] = stale.pop(lane)
        return lane

    scheduler.preempt, cache.open = preempt, open_lane  # type: ignore[method-assign]


def grid_before(
    length: int, spans: Sequence[Any], grids: Sequence[Any], merge: int, strides: Sequence[float] = ()
) -> Any:
    """A grid is read from the item before it."""
    fits = [t * h * w for t, h, w in grids]
    read = [grids[i - 1] if i and fits[i] == fits[i - 1] else grid for i, grid in enumerate(grids)]
    return mrope.mrope_positions(length, spans, read, merge, strides)


class SharedStreams:
    """Choices of one prompt share the detokenizer of the first."""

    def __init__(self) -> None:
        self._prompt: Sequence[int] | None = None
        self._stream: TextStream | None = None

    def __call__(self, text: Detokenizer, params: SamplingParams, prompt_ids: Sequence[int]) -> TextStream:
        if params.n == 1 or self._stream is None or self._prompt is not prompt_ids:
            self._prompt, self._stream = prompt_ids, open_stream(text, params, prompt_ids)
        return self._stream


GRID_BEFORE = Fault(
    "grid-before", "invented", "an item's grid is read from the item before, where both have as many patches",
    "10: positions belong to the request", {"mrope_positions": grid_before},
    "an item follows one of as many patches and other proportions", families="MRoPE",
)  # fmt: skip
SHARED_STREAM = Fault(
    "shared-stream", "invented", "the choices of a prompt share one detokenizer, which is not set back between them",
    "7: concatenated stream == text of all ids", {"open_stream": SharedStreams()}, "n is larger than 1",
)  # fmt: skip
