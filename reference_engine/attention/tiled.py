"""Batch-invariant paged attention: what a token gets has the same bits in every batch, chunk and order.

Each request attends on its own, its queries in tiles of 16 rows that stand at absolute positions (0-15, 16-31, ...),
each tile over the keys from position 0 to the tile's last. So every product has a shape that follows from the token's
position alone. A tile that is new only in part, as at each decoded token, is filled up with zero queries, and the keys
that its last tokens will have are stood in for by the first one; the mask hides them.

Costs a whole tile for one decoded token. Needs nothing but PyTorch, on any device whose attention is a function of
its arguments' shapes and values.

Shapes: T new tokens, L context rounded up to whole tiles, H query heads, G key/value heads, D head width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from reference_engine.attention.dot_product import attention
from reference_engine.attention.paged import Window
from reference_engine.kv_cache import KVCache

TILE = 16


@dataclass(frozen=True)
class TiledWindow:
    """One request's part of the row, in whole tiles."""

    first: int
    """Its first token's place in the row."""
    length: int
    tiles_start: int
    """Position of the first tile: the window's start rounded down."""
    before: int
    """Rows of the first tile that are not new."""
    context_L: Tensor
    """Cache slots of all positions up to the last tile's end."""


class TiledStep:
    """See :class:`reference_engine.attention.paged.PagedStep`."""

    def __init__(self, cache: KVCache, windows: Sequence[Window]) -> None:
        self.cache, self.windows = cache, windows
        self.tiled = list(_tiled(cache, windows))
        slots = [cache.slots(w.lane, w.start, w.stop) for w in windows]
        self.slots_T = torch.cat(slots).to(cache.device)
        self.longest = max(len(w.context_L) for w in self.tiled)
        self._masks: dict[int | None, Tensor] = {}

    def attend(
        self, layer: int, q_1HTD: Tensor, k_1GTD: Tensor, v_1GTD: Tensor, scaling: float, sliding: int | None = None,
        softcap: float | None = None,
    ) -> Tensor:  # fmt: skip
        mask_QL = self._mask(sliding)
        pages = self.cache.layers[layer]
        pages.write(self.slots_T, k_1GTD[0].transpose(0, 1), v_1GTD[0].transpose(0, 1))
        parts_THD = []
        for w in self.tiled:
            k_1GLD, v_1GLD = (
                c[w.context_L].transpose(0, 1)[None].contiguous() for c in (pages.keys_CHD, pages.values_CHD)
            )
            q_1HLD = F.pad(
                q_1HTD[:, :, w.first : w.first + w.length],
                (0, 0, w.before, len(w.context_L) - w.tiles_start - w.before - w.length),
            )
            out_LHD = torch.cat(
                [
                    _attend_tile(
                        q_1HLD[:, :, row : row + TILE], k_1GLD, v_1GLD, mask_QL, w.tiles_start + row, scaling, softcap
                    )
                    for row in range(0, q_1HLD.shape[2], TILE)
                ]
            )
            parts_THD.append(out_LHD[w.before : w.before + w.length])
        return torch.cat(parts_THD)

    def _mask(self, sliding: int | None) -> Tensor:
        if sliding not in self._masks:
            self._masks[sliding] = _mask(self.longest, sliding, self.cache.keys_NKSHD.dtype, self.cache.device)
        return self._masks[sliding]


def _attend_tile(
    q_1HQD: Tensor, k_1GLD: Tensor, v_1GLD: Tensor, mask_QL: Tensor, start: int, scaling: float, softcap: float | None
) -> Tensor:
    """Queries at positions ``start`` to ``start`` + 15 over all keys up to there. [16, H, D]."""
    keys = start + TILE
    out_1HQD = attention(
        q_1HQD.contiguous(), k_1GLD[:, :, :keys], v_1GLD[:, :, :keys], mask=mask_QL[:, -keys:], scale=scaling,
        softcap=softcap, enable_gqa=True,
    )  # fmt: skip
    return out_1HQD[0].transpose(0, 1)


def _tiled(cache: KVCache, windows: Sequence[Window]) -> Iterator[TiledWindow]:
    first = 0
    for window in windows:
        start = window.start // TILE * TILE
        slots_L = cache.slots(window.lane, 0, window.stop)
        missing = -window.stop % TILE
        context_L = torch.cat([slots_L, slots_L[:1].expand(missing)]).to(cache.device)
        yield TiledWindow(first, window.length, start, window.start - start, context_L)
        first += window.length


def _mask(longest: int, sliding: int | None, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Added to scores [16, longest]; its last n columns are the mask of the tile that ends at position n."""
    hidden_QL = torch.full((TILE, longest), float("-inf"), dtype=dtype, device=device)
    mask_QL = hidden_QL.triu(longest - TILE + 1)
    return mask_QL if sliding is None else mask_QL + hidden_QL.tril(longest - TILE - sliding)
