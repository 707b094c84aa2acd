"""Paged attention equals plain attention over each request's whole context; segments attend only to themselves."""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from reference_engine.attention import PagedStep, chunk_rows, decode_rows, paged_attention, segment_attention
from reference_engine.kv_cache import KVCache

HEADS, SHARED, WIDTH = 4, 2, 8
MODULE: Any = SimpleNamespace(layer_idx=1)


@pytest.mark.parametrize("block_size", [1, 3, 16])
def test_mixed_step_equals_whole_attention(block_size: int) -> None:
    lengths, chunk = [7, 1, 12], 5
    generator = torch.Generator().manual_seed(0)
    whole = [torch.randn(3, HEADS, n + 6, WIDTH, generator=generator) for n in lengths]
    cache = KVCache(
        layers=2, heads=SHARED, width=WIDTH, blocks=80, block_size=block_size, lanes=4, longest=40,
        dtype=torch.float32, device="cpu",
    )  # fmt: skip
    lanes = [cache.open(n + 6) for n in lengths]
    for lane, qkv, n in zip(lanes, whole, lengths, strict=True):  # each alone: its context
        step(cache, [(lane, qkv, 0, n)], decoding=0)
    got = step(
        cache,
        [(lanes[0], whole[0], 7, 8), (lanes[1], whole[1], 1, 2), (lanes[2], whole[2], 12, 12 + chunk)],
        decoding=2,
    )
    expected = [plain(whole[0])[7:8], plain(whole[1])[1:2], plain(whole[2])[12 : 12 + chunk]]
    assert torch.allclose(got, torch.cat(expected), atol=1e-6)


def step(cache: KVCache, parts: list[tuple[int, torch.Tensor, int, int]], decoding: int) -> torch.Tensor:
    slots = torch.cat([cache.slots(lane, a, b) for lane, _, a, b in parts])
    lanes, lengths = (torch.tensor([p[i] for p in parts[:decoding]]) for i in (0, 3))
    rows, first = [], decoding
    for lane, _, a, b in parts[decoding:]:
        rows.append(chunk_rows(cache, lane, a, b, first))
        first += b - a
    q, k, v = (torch.cat([qkv[i, :, a:b] for _, qkv, a, b in parts], dim=1)[None] for i in range(3))
    paged = PagedStep(cache, slots, decode_rows(cache, lanes, lengths) if decoding else None, rows)
    return paged_attention(MODULE, q, k[:, :SHARED], v[:, :SHARED], None, scaling=WIDTH**-0.5, paged=paged)[0][0]


def plain(qkv: torch.Tensor) -> torch.Tensor:
    q, k, v = qkv[0], *(x[:SHARED].repeat_interleave(HEADS // SHARED, 0) for x in qkv[1:])
    return F.scaled_dot_product_attention(q[None], k[None], v[None], is_causal=True)[0].transpose(0, 1)


def test_segments_of_several_lengths_keep_their_order() -> None:
    q, k, v = torch.randn(3, 1, HEADS, 20, WIDTH, generator=torch.Generator().manual_seed(1))
    bounds = torch.tensor([0, 3, 7, 10, 16, 20])
    out, _ = segment_attention(MODULE, q, k, v, None, scaling=WIDTH**-0.5, cu_seq_lens_q=bounds)
    parts = list(pairwise(bounds.tolist()))
    expected = torch.cat(
        [F.scaled_dot_product_attention(q[:, :, a:b], k[:, :, a:b], v[:, :, a:b]) for a, b in parts], dim=2
    )
    assert torch.allclose(out, expected.transpose(1, 2), atol=1e-6)


def test_unknown_options_of_a_model_are_refused() -> None:
    q = torch.zeros(1, HEADS, 1, WIDTH)
    with pytest.raises(NotImplementedError, match="softcap"):
        paged_attention(MODULE, q, q, q, None, scaling=1.0, paged=SimpleNamespace(), softcap=30.0)
    with pytest.raises(NotImplementedError, match="attention_mask"):
        paged_attention(MODULE, q, q, q, torch.zeros(1), scaling=1.0, paged=SimpleNamespace())
