"""Every backend of plain PyTorch: paged attention equals plain attention over each request's whole context, with and
without a cap on scores and a sliding window.
"""

from __future__ import annotations

import math

import pytest
import torch

from reference_engine.attention import Backend, Window
from reference_engine.attention.ragged import RaggedRows, RaggedStep
from reference_engine.attention.sdpa import PaddedRows, SDPAStep
from reference_engine.attention.tiled import TiledStep
from reference_engine.kv_cache import KVCache

HEADS, SHARED, WIDTH = 4, 2, 8


@pytest.mark.parametrize("sliding", [None, 4])
@pytest.mark.parametrize("softcap", [None, 0.8])
@pytest.mark.parametrize("backend", [SDPAStep, RaggedStep, TiledStep])
@pytest.mark.parametrize("block_size", [1, 3, 16])
def test_mixed_step_equals_whole_attention(
    block_size: int, backend: Backend, softcap: float | None, sliding: int | None
) -> None:
    lengths, chunk = [7, 1, 12], 5
    generator = torch.Generator().manual_seed(0)
    whole = [torch.randn(3, HEADS, n + 6, WIDTH, generator=generator) for n in lengths]
    cache = KVCache(
        layers=2, heads=SHARED, width=WIDTH, blocks=80, block_size=block_size, lanes=4, longest=40,
        dtype=torch.float32, device="cpu",
    )  # fmt: skip
    lanes = [cache.open(n + 6) for n in lengths]
    for lane, qkv, n in zip(lanes, whole, lengths, strict=True):  # each alone: its context
        got = step(backend, cache, [(lane, qkv, 0, n)], sliding, softcap)
        assert torch.allclose(got, plain(qkv, sliding, softcap)[:n], atol=1e-6)
    parts = [(lanes[0], whole[0], 7, 8), (lanes[1], whole[1], 1, 2), (lanes[2], whole[2], 12, 12 + chunk)]
    got = step(backend, cache, parts, sliding, softcap)
    expected = torch.cat([plain(qkv, sliding, softcap)[a:b] for _, qkv, a, b in parts])
    assert torch.allclose(got, expected, atol=1e-6)
    if softcap is not None:
        assert not torch.allclose(got, torch.cat([plain(qkv, sliding, None)[a:b] for _, qkv, a, b in parts]), atol=1e-3)


@pytest.mark.parametrize(("lengths", "kind"), [([2000, 1999, 1990], PaddedRows), ([2000, 3, 2], RaggedRows)])
def test_lengths_decide_how_requests_decode_on_a_cpu(lengths: list[int], kind: type) -> None:
    cache = KVCache(
        layers=1, heads=SHARED, width=WIDTH, blocks=80, block_size=80, lanes=4, longest=2000, dtype=torch.float32,
        device="cpu",
    )  # fmt: skip
    made = RaggedStep(cache, [Window(cache.open(n), n - 1, n) for n in lengths])
    assert type(made.decode) is kind


@pytest.mark.parametrize("sliding", [None, 3, 100])
def test_ragged_rows_equal_padded_rows(sliding: int | None) -> None:
    lengths = [7, 1, 12, 33]
    cache = KVCache(
        layers=1, heads=SHARED, width=WIDTH, blocks=80, block_size=4, lanes=4, longest=40, dtype=torch.float32,
        device="cpu",
    )  # fmt: skip
    lanes = torch.tensor([cache.open(n) for n in lengths])
    generator = torch.Generator().manual_seed(2)
    keys, values = (torch.randn(cache.keys_NKSHD[0].shape, generator=generator) for _ in range(2))
    q = torch.randn(1, HEADS, len(lengths), WIDTH, generator=generator)
    padded, ragged = (
        rows(cache, lanes, torch.tensor(lengths)).attend(q, keys, values, WIDTH**-0.5, sliding)
        for rows in (PaddedRows, RaggedRows)
    )
    assert torch.allclose(padded, ragged, atol=1e-6)


def step(
    backend: Backend, cache: KVCache, parts: list[tuple[int, torch.Tensor, int, int]], sliding: int | None,
    softcap: float | None,
) -> torch.Tensor:  # fmt: skip
    """One layer over parts (lane, its q, k and v, start, stop)."""
    q, k, v = (torch.cat([qkv[i, :, a:b] for _, qkv, a, b in parts], dim=1)[None] for i in range(3))
    made = backend(cache, [Window(lane, a, b) for lane, _, a, b in parts])
    return made.attend(1, q, k[:, :SHARED], v[:, :SHARED], WIDTH**-0.5, sliding, softcap)


def plain(qkv: torch.Tensor, sliding: int | None, softcap: float | None) -> torch.Tensor:
    """Token by token and head by head, in float64: as the formula is printed."""
    q, k, v = qkv.double()
    out = torch.zeros(q.shape[1], HEADS, WIDTH, dtype=torch.float64)
    for token in range(q.shape[1]):
        first = 0 if sliding is None else max(0, token - sliding + 1)
        for head in range(HEADS):
            shared = head // (HEADS // SHARED)
            scores = [float(q[head, token] @ key) / WIDTH**0.5 for key in k[shared, first : token + 1]]
            if softcap is not None:
                scores = [softcap * math.tanh(score / softcap) for score in scores]
            weights = torch.tensor([math.exp(score) for score in scores], dtype=torch.float64)
            out[token, head] = weights / weights.sum() @ v[shared, first : token + 1]
    return out.float()
