"""Paged attention in plain PyTorch, in shapes that repeat: for any device, and what every other way is compared with.

Keys and values of all new tokens are written to the cache first. Then the decoding requests attend in one batched call
through the block table, and each chunk attends on its own.

Shapes: T new tokens, B decoding requests, L context length, H query heads, G key/value heads, R query heads a key head,
D head width, K blocks, S tokens a block, X blocks of all requests.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Protocol

import torch
from torch import Tensor

from reference_engine.attention.dot_product import attention
from reference_engine.attention.paged import Window, visible
from reference_engine.kv_cache import KVCache


class DecodeRows(Protocol):
    """The decoding requests of a step, as all layers see them."""

    def attend(
        self, q_1HTD: Tensor, keys_KSGD: Tensor, values_KSGD: Tensor, scaling: float, sliding: int | None,
        softcap: float | None = None,
    ) -> Tensor:  # fmt: skip
        """The first B tokens of the row, one a request, each at the end of its context. [B, H, D]."""


class PaddedRows:
    """All decoding requests attend in one call, over as many tokens as the longest context's blocks hold; a mask says
    where each context really is.
    """

    def __init__(self, cache: KVCache, lanes_B: Tensor, lengths_B: Tensor) -> None:
        blocks_BK = cache.block_table(lanes_B, int(lengths_B.max()))
        places_L = torch.arange(blocks_BK.shape[1] * cache.block_size)
        self.blocks_X, self.lengths_B1, self.places_L = (
            x.to(cache.device) for x in (blocks_BK.flatten(), lengths_B[:, None], places_L)
        )
        self._masks: dict[int | None, Tensor] = {}

    def attend(
        self, q_1HTD: Tensor, keys_KSGD: Tensor, values_KSGD: Tensor, scaling: float, sliding: int | None,
        softcap: float | None = None,
    ) -> Tensor:  # fmt: skip
        """Query heads that share keys stand as rows of one key head."""
        requests, shared = len(self.lengths_B1), keys_KSGD.shape[2]
        k_BGLD, v_BGLD = (take_blocks(c, self.blocks_X, requests) for c in (keys_KSGD, values_KSGD))
        q_BGRD = q_1HTD[0, :, :requests].transpose(0, 1).view(requests, shared, -1, q_1HTD.shape[3])
        mask_B11L = self._mask(sliding, q_BGRD.dtype)
        out_BGRD = attention(q_BGRD, k_BGLD, v_BGLD, mask=mask_B11L, scale=scaling, softcap=softcap)
        return out_BGRD.flatten(1, 2)

    def _mask(self, sliding: int | None, dtype: torch.dtype) -> Tensor:
        """Added to scores: 0 where a request's context really is, and near enough. [B, 1, 1, L], made once a step for
        every kind of layer, and as numbers: a mask of truth values is turned into them anew by every call."""
        if sliding not in self._masks:
            hidden_BL = self.places_L >= self.lengths_B1
            if sliding is not None:
                hidden_BL = hidden_BL | (self.places_L < self.lengths_B1 - sliding)
            mask_BL = torch.zeros(hidden_BL.shape, dtype=dtype, device=hidden_BL.device)
            self._masks[sliding] = mask_BL.masked_fill_(hidden_BL, float("-inf"))[:, None, None]
        return self._masks[sliding]


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

    decode_rows: Callable[[KVCache, Tensor, Tensor], DecodeRows] = PaddedRows
    """From lanes and lengths of the decoding requests."""

    def __init__(self, cache: KVCache, windows: Sequence[Window]) -> None:
        self.cache, self.windows = cache, windows
        singles = list(takewhile(lambda w: w.length == 1, windows))
        slots, self.chunks = [], []
        if singles:
            lanes_B, lengths_B = torch.tensor([w.lane for w in singles]), torch.tensor([w.stop for w in singles])
            slots.append(cache.last_slots(lanes_B, lengths_B))
        self.decode = self.decode_rows(cache, lanes_B, lengths_B) if singles else None
        first = len(singles)
        for window in windows[first:]:
            slots.append(cache.slots(window.lane, window.start, window.stop))
            self.chunks.append(_chunk_rows(cache, window, first))
            first += window.length
        self.slots_T = torch.cat(slots).to(cache.device)
        self._masks: dict[int | None, list[Tensor | None]] = {}

    def attend(
        self, layer: int, q_1HTD: Tensor, k_1GTD: Tensor, v_1GTD: Tensor, scaling: float, sliding: int | None = None,
        softcap: float | None = None,
    ) -> Tensor:  # fmt: skip
        pages = self.cache.layers[layer]
        keys_KSGD, values_KSGD = pages.keys_KSHD, pages.values_KSHD
        pages.write(self.slots_T, k_1GTD[0].transpose(0, 1), v_1GTD[0].transpose(0, 1))
        parts_THD = []
        if self.decode is not None:
            parts_THD.append(self.decode.attend(q_1HTD, keys_KSGD, values_KSGD, scaling, sliding, softcap))
        for chunk, mask_TL in zip(self.chunks, self._chunk_masks(sliding), strict=True):
            window = slice(chunk.first, chunk.last)
            if chunk.blocks_K is None:
                k, v = k_1GTD[:, :, window], v_1GTD[:, :, window]
            else:
                k, v = (_context(c, chunk.blocks_K, chunk.context) for c in (keys_KSGD, values_KSGD))
            parts_THD.append(_attend(q_1HTD[:, :, window], k, v, mask_TL, scaling, softcap))
        return parts_THD[0] if len(parts_THD) == 1 else torch.cat(parts_THD)

    def _chunk_masks(self, sliding: int | None) -> list[Tensor | None]:
        """Made once a step for every kind of layer."""
        if sliding not in self._masks:
            masks = [visible(chunk.window, sliding) for chunk in self.chunks]
            self._masks[sliding] = [None if mask is None else mask.to(self.cache.device) for mask in masks]
        return self._masks[sliding]


def _chunk_rows(cache: KVCache, window: Window, first: int) -> ChunkRows:
    """A window whose first token stands at ``first`` in the row."""
    last = first + window.length
    if window.start == 0:
        return ChunkRows(first, last, window, None)
    blocks_K = cache.block_table(torch.tensor([window.lane]), window.stop)[0].to(cache.device)
    return ChunkRows(first, last, window, blocks_K)


def _context(cached_KSGD: Tensor, blocks_K: Tensor, length: int) -> Tensor:
    """One request's context out of the cache: [1, G, L, D]."""
    return take_blocks(cached_KSGD, blocks_K, 1)[:, :, :length]


def take_blocks(cached_KSGD: Tensor, blocks_X: Tensor, requests: int) -> Tensor:
    """Contexts out of the cache, as many blocks of each request, all blocks end to end: [B, G, L, D]. Copies a block
    at once, which indexing does not, nor selecting from more than two dimensions as fast."""
    taken_XC = cached_KSGD.flatten(1).index_select(0, blocks_X)
    return taken_XC.view(requests, -1, *cached_KSGD.shape[2:]).transpose(1, 2)


def _attend(
    q_1HTD: Tensor, k_1GLD: Tensor, v_1GLD: Tensor, mask_TL: Tensor | None, scaling: float, softcap: float | None
) -> Tensor:
    out_1HTD = attention(
        q_1HTD, k_1GLD, v_1GLD, mask=mask_TL, is_causal=mask_TL is None, scale=scaling, softcap=softcap,
        enable_gqa=True,
    )  # fmt: skip
    return out_1HTD[0].transpose(0, 1)
