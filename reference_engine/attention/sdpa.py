"""Paged attention in plain PyTorch: the backend for CPUs, and the one that every other is compared with.

Keys and values of all new tokens are written to the cache first. Then the decoding requests attend in one batched call
through the block table, and each chunk attends on its own.

Shapes: T new tokens, B decoding requests, L context length, H query heads, G key/value heads, R query heads a key head,
D head width, K blocks, S tokens a block.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile

import torch
import torch.nn.functional as F
from torch import Tensor

from reference_engine.attention.paged import Window, visible
from reference_engine.kv_cache import KVCache


@dataclass(frozen=True)
class DecodeRows:
    """The first ``len(blocks_BK)`` tokens of the row: one a request, each at the end of its context."""

    blocks_BK: Tensor
    lengths_B1: Tensor
    places_L: Tensor
    """Positions that the block table has room for."""

    def mask(self, sliding: int | None) -> Tensor:
        """True where a request's context really is, and near enough: [B, 1, 1, L]."""
        mask_BL = self.places_L < self.lengths_B1
        if sliding is not None:
            mask_BL = mask_BL & (self.places_L >= self.lengths_B1 - sliding)
        return mask_BL[:, None, None]


@dataclass(frozen=True)
class ChunkRows:
    """Tokens ``first`` to ``last`` - 1 of the row: one request's chunk, the last of its ``context`` tokens so far."""

    first: int
    last: int
    window: Window
    blocks_K: Tensor | None
    """The context's blocks; None when the chunk is the whole context."""

    @property
    def context(self) -> int:
        return self.window.stop


class SDPAStep:
    """See :class:`reference_engine.attention.paged.PagedStep`."""

    def __init__(self, cache: KVCache, windows: Sequence[Window]) -> None:
        self.cache, self.windows = cache, windows
        singles = list(takewhile(lambda w: w.length == 1, windows))
        slots, self.chunks = [], []
        if singles:
            lanes_B, lengths_B = torch.tensor([w.lane for w in singles]), torch.tensor([w.stop for w in singles])
            slots.append(cache.last_slots(lanes_B, lengths_B))
        self.decode = _decode_rows(cache, lanes_B, lengths_B) if singles else None
        first = len(singles)
        for window in windows[first:]:
            slots.append(cache.slots(window.lane, window.start, window.stop))
            self.chunks.append(_chunk_rows(cache, window, first))
            first += window.length
        self.slots_T = torch.cat(slots).to(cache.device)
        self._masks: dict[int | None, tuple[Tensor | None, list[Tensor | None]]] = {}

    def attend(
        self, layer: int, q_1HTD: Tensor, k_1GTD: Tensor, v_1GTD: Tensor, scaling: float, sliding: int | None = None
    ) -> Tensor:
        decode_mask, chunk_masks = self._masks_for(sliding)
        keys_KSGD, values_KSGD = self.cache.keys_NKSHD[layer], self.cache.values_NKSHD[layer]
        keys_KSGD.flatten(0, 1).index_copy_(0, self.slots_T, k_1GTD[0].transpose(0, 1))
        values_KSGD.flatten(0, 1).index_copy_(0, self.slots_T, v_1GTD[0].transpose(0, 1))
        parts_THD = []
        if self.decode is not None:
            parts_THD.append(_decode(q_1HTD, keys_KSGD, values_KSGD, self.decode.blocks_BK, decode_mask, scaling))
        for chunk, mask_TL in zip(self.chunks, chunk_masks, strict=True):
            window = slice(chunk.first, chunk.last)
            if chunk.blocks_K is None:
                k, v = k_1GTD[:, :, window], v_1GTD[:, :, window]
            else:
                k, v = (_context(c, chunk.blocks_K, chunk.context) for c in (keys_KSGD, values_KSGD))
            parts_THD.append(_attend(q_1HTD[:, :, window], k, v, mask_TL, scaling))
        return torch.cat(parts_THD)

    def _masks_for(self, sliding: int | None) -> tuple[Tensor | None, list[Tensor | None]]:
        """Of the decoding requests and of each chunk; made once a step for every kind of layer."""
        if sliding not in self._masks:
            masks = [visible(chunk.window, sliding) for chunk in self.chunks]
            chunk_masks = [None if mask is None else mask.to(self.cache.device) for mask in masks]
            self._masks[sliding] = self.decode.mask(sliding) if self.decode else None, chunk_masks
        return self._masks[sliding]


def _decode_rows(cache: KVCache, lanes_B: Tensor, lengths_B: Tensor) -> DecodeRows:
    blocks_BK = cache.block_table(lanes_B, int(lengths_B.max()))
    places_L = torch.arange(blocks_BK.shape[1] * cache.block_size)
    return DecodeRows(*(x.to(cache.device) for x in (blocks_BK, lengths_B[:, None], places_L)))


def _chunk_rows(cache: KVCache, window: Window, first: int) -> ChunkRows:
    """A window whose first token stands at ``first`` in the row."""
    last = first + window.length
    if window.start == 0:
        return ChunkRows(first, last, window, None)
    blocks_K = cache.block_table(torch.tensor([window.lane]), window.stop)[0].to(cache.device)
    return ChunkRows(first, last, window, blocks_K)


def _decode(
    q_1HTD: Tensor, keys_KSGD: Tensor, values_KSGD: Tensor, blocks_BK: Tensor, mask_B11L: Tensor | None, scaling: float
) -> Tensor:
    """All decoding requests in one call; query heads that share keys stand as rows of one key head. [B, H, D]."""
    batch = len(blocks_BK)
    k_BGLD, v_BGLD = (c[blocks_BK].flatten(1, 2).transpose(1, 2) for c in (keys_KSGD, values_KSGD))
    q_BHD = q_1HTD[0, :, :batch].transpose(0, 1)
    q_BGRD = q_BHD.unflatten(1, (k_BGLD.shape[1], -1))
    out_BGRD = F.scaled_dot_product_attention(q_BGRD, k_BGLD, v_BGLD, attn_mask=mask_B11L, scale=scaling)
    return out_BGRD.flatten(1, 2)


def _context(cached_KSGD: Tensor, blocks_K: Tensor, length: int) -> Tensor:
    """One request's context out of the cache: [1, G, L, D]."""
    return cached_KSGD[blocks_K].flatten(0, 1)[:length].transpose(0, 1)[None]


def _attend(q_1HTD: Tensor, k_1GLD: Tensor, v_1GLD: Tensor, mask_TL: Tensor | None, scaling: float) -> Tensor:
    out_1HTD = F.scaled_dot_product_attention(
        q_1HTD, k_1GLD, v_1GLD, attn_mask=mask_TL, is_causal=mask_TL is None, scale=scaling, enable_gqa=True
    )
    return out_1HTD[0].transpose(0, 1)
