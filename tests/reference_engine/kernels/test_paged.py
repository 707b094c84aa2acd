"""The kernels equal plain attention written out, whatever the block tables, lengths, widths and cuts; and the bits of a
row depend on nothing but the row and its context.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.reference_engine.kernels.runnable import need_triton

DEVICE = need_triton()

from reference_engine.kernels.attention import RowPlan, attend, chunk_tiles, store  # noqa: E402

SPLIT = 64  # small, so that contexts of a test have several
TOLERANCE = {torch.float32: 3e-6, torch.float16: 4e-3, torch.bfloat16: 3e-2}


@dataclass(frozen=True)
class Shape:
    heads: int
    shared: int
    width: int
    value_width: int
    block_size: int
    dtype: torch.dtype = torch.float32


SHAPES = [
    Shape(4, 2, 32, 32, 16),
    Shape(7, 1, 24, 40, 3),  # neither heads nor widths are powers of two; values wider than keys
    Shape(6, 6, 48, 16, 1, torch.float16),  # every head its own key, as MLA has it: keys wider than values
    Shape(8, 1, 16, 16, 5, torch.bfloat16),
]


class Pages:
    """Random contexts in a paged cache whose other blocks hold NaN: touching one shows."""

    def __init__(self, shape: Shape, contexts: list[int], seed: int) -> None:
        self.shape, self.contexts = shape, contexts
        s, rng = shape, random.Random(seed)
        generator = torch.Generator().manual_seed(seed)
        needs = [-(-n // s.block_size) for n in contexts]
        free = rng.sample(range(sum(needs) + 3), sum(needs))
        self.tables_BK = torch.zeros(len(contexts), max(needs), dtype=torch.int64, device=DEVICE)
        self.keys = torch.full((sum(needs) + 3, s.block_size, s.shared, s.width), torch.nan, dtype=s.dtype).to(DEVICE)
        self.values = torch.full((*self.keys.shape[:3], s.value_width), torch.nan, dtype=s.dtype, device=DEVICE)
        self.q, self.k, self.v = (
            [torch.randn(n, h, w, generator=generator).to(DEVICE, s.dtype) for n in contexts]
            for h, w in ((s.heads, s.width), (s.shared, s.width), (s.shared, s.value_width))
        )
        for i, (n, needed) in enumerate(zip(contexts, needs, strict=True)):
            self.tables_BK[i] = free[0]
            self.tables_BK[i, :needed] = torch.tensor([free.pop() for _ in range(needed)])
            at = torch.arange(n, device=DEVICE)
            slots = self.tables_BK[i, at // s.block_size] * s.block_size + at % s.block_size
            # strided as rope leaves them: heads first
            k, v = (x[i].transpose(0, 1).contiguous().transpose(0, 1) for x in (self.k, self.v))
            store(k, v, self.keys, self.values, slots)

    def attend(self, parts: list[tuple[int, int]], splitting: bool = True, **options: object) -> list[Tensor]:
        """The last ``new`` tokens of each (request, new); those with one token first."""
        parts = sorted(parts, key=lambda part: part[1] > 1)
        decoding = sum(new == 1 for _, new in parts) if splitting else 0
        tiles, positions, first = [(i, i, 1) for i in range(decoding)], [], 0
        for i, (request, new) in enumerate(parts):
            tiles += chunk_tiles(i, first, new) if i >= decoding else []
            positions += range(self.contexts[request] - new, self.contexts[request])
            first += new
        tiles_X3 = torch.tensor(tiles, dtype=torch.int32, device=DEVICE)
        spans = options.pop("spans", None) or [(p, p, p) for p in positions]
        plan = RowPlan(
            self.tables_BK[[r for r, _ in parts]], torch.tensor(spans, dtype=torch.int32, device=DEVICE),
            tiles_X3[:decoding], tiles_X3[decoding:], decoding, self.shape.block_size, SPLIT,
        )  # fmt: skip
        q = torch.cat([self.q[r][len(self.q[r]) - new :] for r, new in parts])
        out = attend(q, self.keys, self.values, plan, scale=self.shape.width**-0.5, **options)
        return [out for _, out in sorted(zip(parts, out.split([n for _, n in parts]), strict=True), key=lambda x: x[0])]

    def expected(self, request: int, mask_LL: Tensor | None = None, softcap: float | None = None) -> Tensor:
        """Plain attention of a whole context in float32."""
        ratio = self.shape.heads // self.shape.shared
        q, k, v = (x[request].float() for x in (self.q, self.k, self.v))
        k, v = k.repeat_interleave(ratio, 1), v.repeat_interleave(ratio, 1)
        scores_HLL = torch.einsum("qhd,khd->hqk", q, k) * self.shape.width**-0.5
        if softcap is not None:
            scores_HLL = softcap * torch.tanh(scores_HLL / softcap)
        if mask_LL is None:
            mask_LL = causal(len(q))
        return torch.einsum("hqk,khd->qhd", scores_HLL.masked_fill(~mask_LL, -torch.inf).softmax(-1), v)

    def assert_near(self, got: Tensor, expected: Tensor) -> None:
        assert (got.float() - expected).abs().max() < TOLERANCE[self.shape.dtype]


def causal(length: int, window: int = 1 << 30) -> Tensor:
    at = torch.arange(length, device=DEVICE)
    return (at[None] <= at[:, None]) & (at[None] > at[:, None] - window)


@settings(max_examples=8, deadline=None)
@given(shape=st.sampled_from(SHAPES), data=st.data(), seed=st.integers(0, 1 << 16))
def test_any_mix_equals_plain_attention(shape: Shape, data: st.DataObject, seed: int) -> None:
    contexts = data.draw(st.lists(st.integers(1, 150), min_size=1, max_size=4))
    pages = Pages(shape, contexts, seed)
    news = [data.draw(st.one_of(st.just(1), st.integers(1, min(40, n)))) for n in contexts]
    got = pages.attend(list(enumerate(news)))
    for i, new in enumerate(news):
        pages.assert_near(got[i], pages.expected(i)[-new:])


@pytest.mark.parametrize("shape", SHAPES)
def test_decoding_and_whole_prompts(shape: Shape) -> None:
    """Lengths on and just past block, key block and split boundaries."""
    pages = Pages(shape, [SPLIT, SPLIT + 1, 33, 1], seed=1)
    for news in ([1, 1, 1, 1], [SPLIT, 1, 33, 1]):
        got = pages.attend(list(enumerate(news)))
        for i, new in enumerate(news):
            pages.assert_near(got[i], pages.expected(i)[-new:])


@pytest.mark.parametrize("window", [1, 7, SPLIT, 100])
def test_sliding_window(window: int) -> None:
    pages = Pages(SHAPES[0], [150, 90], seed=2)
    for news in ([1, 1], [40, 1], [150, 90]):
        got = pages.attend(list(enumerate(news)), window=window)
        for i, new in enumerate(news):
            pages.assert_near(got[i], pages.expected(i, causal(pages.contexts[i], window))[-new:])


def test_softcap() -> None:
    pages = Pages(SHAPES[0], [70, 20], seed=3)
    got = pages.attend([(0, 1), (1, 20)], softcap=0.7)
    pages.assert_near(got[0], pages.expected(0, softcap=0.7)[-1:])
    pages.assert_near(got[1], pages.expected(1, softcap=0.7))
    assert (got[1].float() - pages.expected(1)).abs().max() > 1e-2, "the cap changes something"


def test_a_span_attends_both_ways_and_past_its_window() -> None:
    """An image of 30 tokens at 20..49 in a layer with a window of 10."""
    pages = Pages(SHAPES[0], [80], seed=4)
    at = torch.arange(80, device=DEVICE)
    inside = (at >= 20) & (at < 50)
    spans = [(p, 20, 49) if 20 <= p < 50 else (p, p, p) for p in range(80)]
    [got] = pages.attend([(0, 80)], spans=spans, window=10)
    pages.assert_near(got, pages.expected(0, causal(80, 10) | (inside[None] & inside[:, None])))


@pytest.mark.parametrize("shape", [SHAPES[0], SHAPES[1], SHAPES[3]])
def test_bits_do_not_depend_on_batch_mates_or_cuts(shape: Shape) -> None:
    pages = Pages(shape, [70, 40, 20, 1], seed=5)

    def run(*parts: tuple[int, int]) -> list[Tensor]:
        return pages.attend(list(parts), splitting=False)

    alone = [run((i, n))[0] for i, n in enumerate(pages.contexts)]
    for news in ([1, 1, 1, 1], [33, 1, 17, 1], [70, 20, 1, 1]):
        for new, got, whole in zip(news, run(*enumerate(news)), alone, strict=True):
            assert torch.equal(got, whole[-new:])


def test_rows_of_no_request_are_left_alone() -> None:
    """A tile of no tokens writes nothing and reads no block."""
    pages = Pages(SHAPES[0], [20], seed=6)
    empty = torch.tensor([[0, 0, 0]], dtype=torch.int32, device=DEVICE)
    spans = torch.zeros(1, 3, dtype=torch.int32, device=DEVICE)
    plan = RowPlan(pages.tables_BK, spans, empty[:0], empty, 0, 16)
    attend(pages.q[0][:1], pages.keys, pages.values, plan, scale=1.0)
