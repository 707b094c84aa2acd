"""Paged attention by our own Triton kernels: the backend for GPUs, NVIDIA's and AMD's alike.

The step's layout is computed on the host from the windows alone and copied without waiting; no layer looks at a
value on the device. Importing this module imports triton.

Shapes: as in :mod:`reference_engine.kernels.paged`; X tiles.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile

import torch
from torch import Tensor

from reference_engine.attention.paged import Window
from reference_engine.device import to_device
from reference_engine.kernels.attention import RowPlan, attend, chunk_tiles, store
from reference_engine.kv_cache import KVCache


class TritonStep:
    """See :class:`reference_engine.attention.paged.PagedStep`."""

    splits_decoding = True
    """A long context of a decoding request is shared by several programs."""

    def __init__(self, cache: KVCache, windows: Sequence[Window]) -> None:
        self.cache, self.windows = cache, windows
        decoding = sum(1 for _ in takewhile(lambda w: w.length == 1, windows))
        self.slots_T = to_device(_slots(cache, windows[:decoding], windows[decoding:]), cache.device)
        self.plan = self._plan(windows, decoding if self.splits_decoding else 0)

    def attend(
        self, layer: int, q_1HTD: Tensor, k_1GTD: Tensor, v_1GTD: Tensor, scaling: float, sliding: int | None = None,
        softcap: float | None = None,
    ) -> Tensor:  # fmt: skip
        keys_KSGD, values_KSGD, *_ = self.cache.layers[layer]
        q_THD, k_TGD, v_TGD = (x[0].transpose(0, 1) for x in (q_1HTD, k_1GTD, v_1GTD))
        store(k_TGD, v_TGD, keys_KSGD, values_KSGD, self.slots_T)
        return attend(q_THD, keys_KSGD, values_KSGD, self.plan, scale=scaling, window=sliding, softcap=softcap)

    def _plan(self, windows: Sequence[Window], decoding: int) -> RowPlan:
        tiles = [(request, request, 1) for request in range(decoding)]
        first = decoding
        for request, window in enumerate(windows[decoding:], start=decoding):
            tiles += chunk_tiles(request, first, window.length)
            first += window.length
        tiles_X3 = to_device(torch.tensor(tiles, dtype=torch.int32), self.cache.device)
        spans_T3 = torch.cat([_spans(window) for window in windows])
        tables_BK = self.cache.block_table([w.lane for w in windows], max(w.stop for w in windows))
        return RowPlan(
            tables_BK=to_device(tables_BK, self.cache.device),
            spans_T3=to_device(spans_T3, self.cache.device),
            decode_tiles_X3=tiles_X3[:decoding],
            chunk_tiles_X3=tiles_X3[decoding:],
            decoding=decoding,
            block_size=self.cache.block_size,
        )


def _spans(window: Window) -> Tensor:
    """Of each token: its position, then first and last position of the span that it attends both ways, or itself."""
    spans_T3 = torch.arange(window.start, window.stop, dtype=torch.int32)[:, None].repeat(1, 3)
    for first, last in window.both_ways:
        spans_T3[max(0, first - window.start) : last + 1 - window.start, 1:] = torch.tensor([first, last])
    return spans_T3


def _slots(cache: KVCache, singles: Sequence[Window], chunks: Sequence[Window]) -> Tensor:
    """Where the new tokens go: int64 [T]."""
    slots = [cache.slots(w.lane, w.start, w.stop) for w in chunks]
    if singles:
        lanes_B, lengths_B = torch.tensor([w.lane for w in singles]), torch.tensor([w.stop for w in singles])
        slots.insert(0, cache.last_slots(lanes_B, lengths_B))
    return torch.cat(slots)


class InvariantTritonStep(TritonStep):
    """Prompts and decoding through one kernel: bits do not depend on where a prompt was cut, or on batch mates."""

    splits_decoding = False
