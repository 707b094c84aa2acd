"""The cuts equal transformers' warpers, tie by tie where those have a rule, and do not depend on the other rows."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reference_engine import hf, truncation
from reference_engine.sampling_params import SamplingParams
from reference_engine.truncation import truncate

warpers = hf.transformers.generation.logits_process
params = st.builds(
    SamplingParams,
    top_k=st.one_of(st.just(-1), st.integers(1, 40)),
    top_p=st.one_of(st.just(1.0), st.floats(0.05, 1.0)),
    min_p=st.one_of(st.just(0.0), st.floats(0.001, 1.0)),
)


def warped(scaled: torch.Tensor, p: SamplingParams) -> tuple[torch.Tensor, bool]:
    """transformers' result, and whether a sum or a share was so near its border that it may round either way."""
    scores, edge = scaled[None].clone(), False
    if p.top_k > 0:
        scores = warpers.TopKLogitsWarper(p.top_k)(None, scores)
    if p.top_p < 1:
        summed = scores.softmax(-1).sort(descending=True).values.cumsum(-1)
        edge = bool((summed - p.top_p).abs().min() < 1e-5)
        scores = warpers.TopPLogitsWarper(p.top_p)(None, scores)
    if p.min_p > 0:
        share = scores.softmax(-1) / scores.softmax(-1).amax()
        edge = edge or bool(((share - p.min_p).abs() < 1e-5)[share < 1].any())
        scores = warpers.MinPLogitsWarper(p.min_p)(None, scores)
    return scores[0], edge


@settings(max_examples=150, deadline=None)
@given(st.lists(params, min_size=1, max_size=5), st.integers(2, 60), st.floats(0.1, 4), st.integers(0, 1 << 30))
def test_cuts_equal_transformers(rows: list[SamplingParams], size: int, scale: float, seed: int) -> None:
    scaled = torch.randn(len(rows), size, generator=torch.Generator().manual_seed(seed)) * scale
    made = truncate(scaled.clone(), rows)
    for i, p in enumerate(rows):
        theirs, edge = warped(scaled[i], p)
        assert edge or torch.equal(made[i], theirs)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(-3, 3), min_size=2, max_size=30), st.integers(1, 30))
def test_ties_with_the_last_one_kept_are_kept(values: list[int], top_k: int) -> None:
    scaled = torch.tensor([values], dtype=torch.float32)
    p = SamplingParams(top_k=top_k)
    assert torch.equal(truncate(scaled.clone(), [p])[0], warped(scaled[0], p)[0])
    nucleus = truncate(scaled.clone(), [SamplingParams(top_p=0.5)])[0]
    kept = {v for v, k in zip(values, nucleus.isfinite().tolist(), strict=True) if k}
    cut = {v for v, k in zip(values, nucleus.isfinite().tolist(), strict=True) if not k}
    assert min(kept) > max(cut, default=-9)


@pytest.mark.parametrize("head", [1, 2, 7])
def test_a_nucleus_larger_than_the_head_is_whole(head: int, monkeypatch: Any) -> None:
    scaled = torch.randn(6, 50, generator=torch.Generator().manual_seed(4))
    rows = [SamplingParams(top_p=p) for p in (0.01, 0.1, 0.5, 0.9, 0.99, 0.999999)]
    expected = truncate(scaled.clone(), rows)
    monkeypatch.setattr(truncation, "HEAD", head)
    assert torch.equal(truncate(scaled.clone(), rows), expected)


def test_a_row_is_cut_as_it_is_alone() -> None:
    values = itertools.product((-1, 1, 5, 90), (0.3, 1.0), (0.0, 0.2))
    rows = [SamplingParams(top_k=k, top_p=p, min_p=m) for k, p, m in values]
    scaled = torch.randn(len(rows), 80, generator=torch.Generator().manual_seed(5)) * 2
    together = truncate(scaled.clone(), rows)
    for i, p in enumerate(rows):
        assert torch.equal(truncate(scaled[i : i + 1].clone(), [p])[0], together[i])
