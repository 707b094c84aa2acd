"""Attention over the paged cache for the decoder, and over segments for the vision tower. Plain PyTorch.

A step's new tokens of all requests stand in one row: first the requests that decode (one token each), then the chunks
of those still filling their prompt. Keys and values of all new tokens are written to the cache first; then the
decoding ones attend in one batched call through the block table, and each chunk attends on its own. What a token may
see is decided here and only here: no mask comes from the model, and no request can see another's tokens.

Shapes: T new tokens, B decoding requests, L context length, H query heads, G key/value heads, D head width, S tokens a
block.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reference_engine.kv_cache import KVCache


@dataclass(frozen=True)
class DecodeRows:
    """The first ``len(blocks_BK)`` tokens of the row: one a request, each at the end of its context."""

    blocks_BK: Tensor
    mask_B11L: Tensor
    """True where a request's context really is; L is the block table's width in tokens."""


@dataclass(frozen=True)
class ChunkRows:
    """Tokens ``first`` to ``last`` - 1 of the row: one request's chunk, the last of its ``context`` tokens so far."""

    first: int
    last: int
    context: int
    blocks_K: Tensor | None
    """The context's blocks; None when the chunk is the whole context."""
    mask_TL: Tensor | None


@dataclass(frozen=True)
class PagedStep:
    """Everything attention needs to know about one step; passed down through the model's keyword arguments."""

    cache: KVCache
    slots_T: Tensor
    decode: DecodeRows | None
    chunks: Sequence[ChunkRows]


def decode_rows(cache: KVCache, lanes_B: Tensor, lengths_B: Tensor) -> DecodeRows:
    blocks_BK = cache.block_table(lanes_B, int(lengths_B.max()))
    places_L = torch.arange(blocks_BK.shape[1] * cache.block_size)
    mask_B11L = (places_L < lengths_B[:, None])[:, None, None]
    return DecodeRows(blocks_BK.to(cache.device), mask_B11L.to(cache.device))


def chunk_rows(cache: KVCache, lane: int, start: int, stop: int, first: int) -> ChunkRows:
    """Tokens ``start`` to ``stop`` - 1 of a lane, standing in the row from ``first`` on."""
    length = stop - start
    if start == 0:
        return ChunkRows(first, first + length, stop, None, None)
    mask_TL = torch.ones(length, stop, dtype=torch.bool, device=cache.device).tril(start)
    blocks_K = cache.block_table(torch.tensor([lane]), stop)[0].to(cache.device)
    return ChunkRows(first, first + length, stop, blocks_K, mask_TL)


def paged_attention(
    module: Any,
    q_1HTD: Tensor,
    k_1GTD: Tensor,
    v_1GTD: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float,
    paged: PagedStep,
    **options: Any,
) -> tuple[Tensor, None]:
    """The decoder's attention function. Returns [1, T, H, D]. Refuses any option of the model that it does not know."""
    _refuse_unknown(attention_mask, options)
    keys_KSGD, values_KSGD = (c[module.layer_idx] for c in (paged.cache.keys_NKSHD, paged.cache.values_NKSHD))
    keys_KSGD.flatten(0, 1).index_copy_(0, paged.slots_T, k_1GTD[0].transpose(0, 1))
    values_KSGD.flatten(0, 1).index_copy_(0, paged.slots_T, v_1GTD[0].transpose(0, 1))
    parts_THD = []
    if paged.decode is not None:
        parts_THD.append(_decode(q_1HTD, keys_KSGD, values_KSGD, paged.decode, scaling))
    for chunk in paged.chunks:
        window = slice(chunk.first, chunk.last)
        if chunk.blocks_K is None:
            k, v = k_1GTD[:, :, window], v_1GTD[:, :, window]
        else:
            k, v = (_context(c, chunk.blocks_K, chunk.context) for c in (keys_KSGD, values_KSGD))
        parts_THD.append(_attend(q_1HTD[:, :, window], k, v, chunk.mask_TL, scaling))
    return torch.cat(parts_THD)[None], None


def _decode(q_1HTD: Tensor, keys_KSGD: Tensor, values_KSGD: Tensor, rows: DecodeRows, scaling: float) -> Tensor:
    """All decoding requests in one call; query heads that share keys stand as rows of one key head. [B, H, D]."""
    batch = len(rows.blocks_BK)
    k_BGLD, v_BGLD = (c[rows.blocks_BK].flatten(1, 2).transpose(1, 2) for c in (keys_KSGD, values_KSGD))
    q_BHD = q_1HTD[0, :, :batch].transpose(0, 1)
    q_BGRD = q_BHD.unflatten(1, (k_BGLD.shape[1], -1))
    out_BGRD = F.scaled_dot_product_attention(q_BGRD, k_BGLD, v_BGLD, attn_mask=rows.mask_B11L, scale=scaling)
    return out_BGRD.flatten(1, 2)


def _context(cached_KSGD: Tensor, blocks_K: Tensor, length: int) -> Tensor:
    """One request's context out of the cache: [1, G, L, D]."""
    return cached_KSGD[blocks_K].flatten(0, 1)[:length].transpose(0, 1)[None]


def _attend(q_1HTD: Tensor, k_1GLD: Tensor, v_1GLD: Tensor, mask_TL: Tensor | None, scaling: float) -> Tensor:
    out_1HTD = F.scaled_dot_product_attention(
        q_1HTD, k_1GLD, v_1GLD, attn_mask=mask_TL, is_causal=mask_TL is None, scale=scaling, enable_gqa=True
    )
    return out_1HTD[0].transpose(0, 1)


def _refuse_unknown(attention_mask: Tensor | None, options: dict[str, Any]) -> None:
    known = {"position_ids", "use_cache", "dropout"}
    unknown = sorted(name for name, value in options.items() if value is not None and name not in known)
    if attention_mask is not None or options.get("dropout"):
        unknown.append("attention_mask" if attention_mask is not None else "dropout")
    if unknown:
        raise NotImplementedError(f"paged attention does not implement the model's {', '.join(unknown)}")


def segment_attention(
    module: nn.Module,
    q_1HTD: Tensor,
    k_1HTD: Tensor,
    v_1HTD: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float,
    cu_seq_lens_q: Tensor,
    **_: Any,
) -> tuple[Tensor, None]:
    """The vision tower's: full attention within each segment (image or window), one call for all segments of a length.

    Returns [1, T, H, D].
    """
    groups, order_T = segment_groups(tuple(cu_seq_lens_q.tolist()), q_1HTD.device)
    q_THD, k_THD, v_THD = (x[0].transpose(0, 1) for x in (q_1HTD, k_1HTD, v_1HTD))
    parts_THD = []
    for places_NL in groups:
        q, k, v = (x[places_NL].transpose(1, 2) for x in (q_THD, k_THD, v_THD))
        out_NHLD = F.scaled_dot_product_attention(q, k, v, scale=scaling)
        parts_THD.append(out_NHLD.transpose(1, 2).flatten(0, 1))
    return torch.cat(parts_THD)[order_T][None], None


@lru_cache(maxsize=8)
def segment_groups(bounds: tuple[int, ...], device: torch.device) -> tuple[list[Tensor], Tensor]:
    """Places [segments, length] for every length that occurs, and the order that puts their tokens back in place."""
    starts: dict[int, list[int]] = {}
    for start, stop in pairwise(bounds):
        if stop > start:
            starts.setdefault(stop - start, []).append(start)
    groups = [torch.tensor(first)[:, None] + torch.arange(length) for length, first in starts.items()]
    order_T = torch.argsort(torch.cat([places.flatten() for places in groups]))
    return [places.to(device) for places in groups], order_T.to(device)
