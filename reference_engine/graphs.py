"""Decoding steps recorded once and replayed: CUDA graphs (HIP graphs on AMD cards), keyed by everything they bake in.

A graph holds addresses and Python numbers as they were when it was recorded. So a step is padded to a size that comes
back often, its inputs are copied into the buffers that were recorded, and the key under which a graph is found is made
by walking the step itself: shape, type, place and strides of every tensor, and the value of everything else. A number
that somebody adds to a step is in the key without anybody having to think of it (a stale one once halved a score and
raised nothing: transformers#45323). What the walk does not know, it refuses.

Padding rows belong to the cache's scratch lane, whose every position is one block that no request owns. One of them is
always there, and as long as the block table is wide, so it alone fixes the table's width.

Shapes: B decoding requests, E hidden.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from reference_engine.attention import Backend, PagedStep, Window
from reference_engine.device import to_device
from reference_engine.kv_cache import KVCache

MOST_RECORDINGS = 256
"""A graph holds memory; from here on the oldest one goes when another is recorded."""
Forward = Callable[[Tensor, Tensor, PagedStep], Tensor]
"""x [B, E], positions [3, B] and the step -> hidden states [B, E]."""


class Recorder(Protocol):
    """Something that runs once and can repeat itself on the same buffers."""

    def __call__(self, run: Callable[[], Tensor]) -> Callable[[], Tensor]:
        """Record ``run``. The replay reads the tensors that ``run`` read, as they are then; its result is overwritten
        by the next replay."""


class CudaRecorder:
    """A graph a recording, all in one memory pool: they never run at the same time.

    One stream warms up and records, so that what libraries keep for a stream (workspaces of matrix products) is made
    outside of any graph. What other threads do to the device meanwhile does not spoil a recording.
    """

    def __init__(self) -> None:
        self.pool = torch.cuda.graph_pool_handle()
        self.stream = torch.cuda.Stream()

    def __call__(self, run: Callable[[], Tensor]) -> Callable[[], Tensor]:
        self._warm_up(run)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self.pool, stream=self.stream, capture_error_mode="thread_local"):
            result = run()

        def replay() -> Tensor:
            graph.replay()
            return result

        return replay

    def _warm_up(self, run: Callable[[], Tensor]) -> None:
        """Kernels are compiled and workspaces made on the first run, which must not be inside the graph."""
        main = torch.cuda.current_stream()
        self.stream.wait_stream(main)
        with torch.cuda.stream(self.stream):
            run()
        main.wait_stream(self.stream)


def call_again(run: Callable[[], Tensor]) -> Callable[[], Tensor]:
    """The recorder of a CPU: no faster, but keys, padding and copies are those of a graph, and so are their faults."""
    return run


def choose_recorder(device: str) -> Recorder:
    return call_again if device == "cpu" else CudaRecorder()


@dataclass(frozen=True)
class _Recorded:
    inputs: list[Tensor]
    replay: Callable[[], Tensor]


class DecodeGraphs:
    """Runs decoding steps through recordings. A step whose layout was not seen yet is recorded then."""

    def __init__(
        self, forward: Forward, cache: KVCache, backend: Backend, recorder: Recorder,
        refill: Callable[[Sequence[Tensor], Sequence[Tensor]], None] | None = None,
    ) -> None:  # fmt: skip
        """``refill`` stands for :func:`copy_inputs`."""
        self.forward = forward
        self.cache = cache
        self.backend = backend
        self.recorder = recorder
        self._refill = refill or copy_inputs
        self.replays = 0
        self._recorded: dict[Hashable, _Recorded] = {}

    def __len__(self) -> int:
        return len(self._recorded)

    def run(self, x_BE: Tensor, positions_3B: Tensor, windows: Sequence[Window]) -> Tensor:
        """Hidden states [B, E], valid until the next run."""
        rows = len(windows)
        padding = padded_rows(rows) - rows
        step = self.backend(self.cache, [*windows, *[self._padding_window(windows)] * padding])
        vars(step).pop("windows", None)  # numbers of this step alone: whatever reads them cannot be recorded, and fails
        positions_3B = to_device(F.pad(positions_3B, (0, padding)), x_BE.device)
        inputs = [F.pad(x_BE, (0, 0, 0, padding)), positions_3B, *tensors_of(step)]
        key = tuple(layout(inputs)) + tuple(layout(step))
        recorded = self._recorded.get(key)
        if recorded is None:
            if len(self._recorded) == MOST_RECORDINGS:
                del self._recorded[next(iter(self._recorded))]
            recorded = self._recorded[key] = self._record(inputs, step)
        else:
            self._refill(recorded.inputs, inputs)
        self.replays += 1
        return recorded.replay()[:rows]

    def _record(self, inputs: list[Tensor], step: PagedStep) -> _Recorded:
        """From here on this step's own tensors are the buffers."""
        x_BE, positions_3B = inputs[:2]

        def run() -> Tensor:
            _forget_derived(step)
            return self.forward(x_BE, positions_3B, step)

        return _Recorded(inputs, self.recorder(run))

    def _padding_window(self, windows: Sequence[Window]) -> Window:
        blocks = self.cache.blocks_for(max(w.stop for w in windows))
        stop = min(1 << (blocks - 1).bit_length(), self.cache.table_width) * self.cache.block_size
        return Window(self.cache.scratch_lane, stop - 1, stop)


def copy_inputs(recorded: Sequence[Tensor], inputs: Sequence[Tensor]) -> None:
    """Into the very buffers that were recorded, all of them."""
    for static, fresh in zip(recorded, inputs, strict=True):
        static.copy_(fresh, non_blocking=True)


def padded_rows(rows: int) -> int:
    """More than ``rows``: 2, 4, or a multiple of 8."""
    return next((size for size in (2, 4) if size > rows), rows // 8 * 8 + 8)


def layout(value: Any) -> Iterator[Hashable]:
    """Everything that a recording of ``value`` bakes in. Raises TypeError for a kind of object that is not known."""
    match value:
        case Tensor():
            yield ("tensor", tuple(value.shape), value.stride(), value.dtype, value.device)
        case None | bool() | int() | float() | str():
            yield value
        case KVCache():
            yield id(value)
        case list() | tuple():
            yield len(value)
            for part in value:
                yield from layout(part)
        case _:
            yield type(value).__qualname__
            for name, part in _named_parts(value):
                yield name
                yield from layout(part)


def tensors_of(value: Any) -> Iterator[Tensor]:
    """The tensors of a step, in the order of :func:`layout`, which says whether two steps have the same."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for part in value:
            yield from tensors_of(part)
    elif not isinstance(value, KVCache | bool | int | float | str | None):
        for _, part in _named_parts(value):
            yield from tensors_of(part)


def _forget_derived(step: object) -> None:
    """What a step keeps under a name with an underscore it makes from the rest when it is first asked: masks of a kind
    of layer. They must be made anew, inside the recording, or a replay would see those of the step that was recorded.
    """
    for name, kept in vars(step).items():
        if name.startswith("_") and isinstance(kept, dict):
            kept.clear()
        elif type(kept).__module__.startswith("reference_engine.attention"):
            _forget_derived(kept)


def _named_parts(value: Any) -> list[tuple[str, Any]]:
    if is_dataclass(value):
        return [(f.name, getattr(value, f.name)) for f in fields(value)]
    if type(value).__module__.startswith("reference_engine.attention"):
        return [(name, part) for name, part in vars(value).items() if not name.startswith("_")]
    raise TypeError(f"a {type(value).__name__} in a step: what of it a recorded graph bakes in is not known")
