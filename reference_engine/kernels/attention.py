"""Paged attention on a GPU: what a step's rows look like to the kernels, and their launches.

For every card that Triton knows. torch's own ``varlen_attn`` takes block tables too (2.13), but on CUDA only, in pages
of 256 tokens on cards before Hopper, and without fixed splits on ROCm: this is the portable default, and the one whose
order of sums is ours. Shapes, and what the kernels promise, are in :mod:`reference_engine.kernels.paged`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
from torch import Tensor

from reference_engine.kernels import AS_WRITTEN
from reference_engine.kernels.paged import attend_kernel, combine_kernel, store_kernel
from reference_engine.kernels.row_functions import widen

CHUNK_TOKENS = 16
"""Tokens of a prompt tile. A decoding tile has one."""
KEYS = 32
SPLIT = 256
"""Keys read at once, and keys of a split, a multiple of them. An answer's bits depend on both: they order its sums."""
WIDE = 512
"""Bytes of a key or value from which on half as many are read at once: an AMD card has 64 KiB for a program."""
LARGE = 128
"""Rows of a tile from which on eight warps share it, so that its sums stay in registers."""
EVERYTHING = 1 << 30
"""The sliding window of a layer that has none."""


@dataclass(frozen=True)
class RowPlan:
    """A step's rows: ``decoding`` rows of one token first, then chunks. All tensors are on the cache's device."""

    tables_BK: Tensor
    """Block table, one row a request of the step; decoding requests first."""
    spans_T3: Tensor
    """int32. Of each token: its position, then first and last position of the span it attends both ways, or itself."""
    decode_tiles_X3: Tensor
    chunk_tiles_X3: Tensor
    """int32. A tile's request, first token, number of tokens."""
    decoding: int
    """So many are cut into splits, which several programs share and ``combine_kernel`` merges. Where 0, decoding rows
    stand among the chunk tiles: all rows go through one kernel, and have the same bits wherever a prompt is cut."""
    block_size: int
    split: int = SPLIT

    @property
    def splits(self) -> int:
        """Splits that partial results of decoding rows have room for: those that the table's width can reach."""
        return -(-self.tables_BK.shape[1] * self.block_size // self.split)


def chunk_tiles(request: int, first: int, length: int) -> list[tuple[int, int, int]]:
    """Tiles of one request's chunk, which stands in the row from token ``first`` on."""
    return [(request, first + at, min(CHUNK_TOKENS, length - at)) for at in range(0, length, CHUNK_TOKENS)]


def store(k_TGD: Tensor, v_TGV: Tensor, keys_KSGD: Tensor, values_KSGV: Tensor, slots_T: Tensor) -> None:
    """Write new keys and values to their slots. ``k`` and ``v`` may be views as long as their last axis is dense."""
    tokens, heads, width = k_TGD.shape
    value_width = v_TGV.shape[2]
    store_kernel[(tokens, heads)](
        k_TGD, v_TGV, keys_KSGD, values_KSGV, slots_T, *k_TGD.stride()[:2], *v_TGV.stride()[:2],
        G=heads, D=width, PD=_padded(width), V=value_width, PV=_padded(value_width), num_warps=1, **AS_WRITTEN,
    )  # fmt: skip


def attend(
    q_THD: Tensor, keys_KSGD: Tensor, values_KSGV: Tensor, plan: RowPlan, *, scale: float,
    window: int | None = None, softcap: float | None = None,
) -> Tensor:  # fmt: skip
    """[T, H, V], every row over its own context. ``window`` keys at most, the row's own included."""
    tokens, heads = q_THD.shape[:2]
    width = values_KSGV.shape[3]
    out_THV = q_THD.new_empty(tokens, heads, width)
    launch = _Launch(q_THD, keys_KSGD, values_KSGV, out_THV, plan, scale, window or EVERYTHING, softcap or 0.0)
    if plan.decoding:
        part_BHPV = q_THD.new_empty(plan.decoding, heads, plan.splits, width, dtype=torch.float32)
        stats_BHP2 = part_BHPV.new_empty(plan.decoding, heads, plan.splits, 2)
        launch.tiles(plan.decode_tiles_X3, 1, part_BHPV, stats_BHP2, whole=False)
        combine_kernel[(plan.decoding, heads)](
            part_BHPV, stats_BHP2, out_THV, plan.spans_T3, launch.window, plan.splits,
            H=heads, V=width, PV=_padded(width), SPLIT=plan.split, num_warps=1, **AS_WRITTEN,
        )  # fmt: skip
    if len(plan.chunk_tiles_X3):
        launch.tiles(plan.chunk_tiles_X3, CHUNK_TOKENS, out_THV, out_THV, whole=True)
    return out_THV


@dataclass(frozen=True)
class _Launch:
    """What both kinds of tiles share."""

    q_THD: Tensor
    keys_KSGD: Tensor
    values_KSGV: Tensor
    out_THV: Tensor
    plan: RowPlan
    scale: float
    window: int
    softcap: float

    def tiles(self, tiles_X3: Tensor, tokens: int, part: Tensor, stats: Tensor, *, whole: bool) -> None:
        """``whole`` tiles never touch ``part`` and ``stats``."""
        block_size, shared, value_width = self.values_KSGV.shape[1:]
        heads, width = self.q_THD.shape[1:]
        tables_BK, rows = self.plan.tables_BK, _padded(tokens * (heads // shared))
        keys = KEYS if max(_padded(width), _padded(value_width)) * self.keys_KSGD.element_size() <= WIDE else KEYS // 2
        attend_kernel[(len(tiles_X3), shared, 1 if whole else self.plan.splits)](
            self.q_THD, self.keys_KSGD, self.values_KSGV, self.out_THV, part, stats, tiles_X3, self.plan.spans_T3,
            tables_BK, *self.q_THD.stride()[:2], tables_BK.stride(0), self.scale, self.window, self.plan.splits,
            SOFTCAP=self.softcap, H=heads, G=shared, D=width, PD=_padded(width), V=value_width,
            PV=_padded(value_width), S=block_size, M=rows, N=keys, SPLIT=self.plan.split, WHOLE=whole,
            WIDEN=widen(self.values_KSGV.dtype), num_warps=8 if rows >= LARGE else 4, num_stages=2, **AS_WRITTEN,
        )  # fmt: skip


def _padded(size: int) -> int:
    """The power of two that holds it; at least 16, the least that ``tl.dot`` takes."""
    return max(16, triton.next_power_of_2(size))
