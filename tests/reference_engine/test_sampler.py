"""Sampling: greedy, cuts as transformers makes them, draws that follow the probabilities and only the request's own
seed.
"""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reference_engine import hf
from reference_engine.errors import RequestError
from reference_engine.request import SamplingParams
from reference_engine.sampler import Draw, Sampled, SampleRow, kept_probabilities, sample


def row(*, want_logprob: bool = False, **params: Any) -> SampleRow:
    sampling = SamplingParams(**params)
    return SampleRow(sampling, Draw(sampling.seed), want_logprob)


def test_greedy_takes_the_first_of_the_largest() -> None:
    logits = torch.tensor([[0.0, 2.0, 2.0], [5.0, 1.0, 0.0]])
    tokens = sample(logits, [row(), row(temperature=1e-7)])
    assert [t.token for t in tokens] == [1, 0]


def test_logprobs_are_the_models_own() -> None:
    logits = torch.randn(3, 50, generator=torch.Generator().manual_seed(0))
    rows = [row(want_logprob=True), row(temperature=2.0, top_k=3, seed=1, want_logprob=True), row()]
    first, second, third = sample(logits, rows)
    for i, result in enumerate((first, second)):
        assert result.logprob == pytest.approx(logits[i].log_softmax(-1)[result.token].item(), abs=1e-6)
    assert third.logprob is None


@given(
    st.lists(st.floats(-8, 8, width=32), min_size=2, max_size=30),
    st.integers(1, 30),
    st.floats(0.05, 1.0),
    st.floats(0.2, 3.0),
)
def test_cuts_equal_transformers(values: list[float], top_k: int, top_p: float, temperature: float) -> None:
    warpers = hf.transformers.generation.logits_process
    logits = torch.tensor([sorted(set(values), reverse=True)])
    scores = warpers.TemperatureLogitsWarper(temperature)(None, logits)
    scores = warpers.TopKLogitsWarper(min(top_k, logits.shape[1]))(None, scores)
    scores = warpers.TopPLogitsWarper(top_p)(None, scores) if top_p < 1 else scores
    expected = scores.softmax(-1)
    kept = kept_probabilities(logits / temperature, [SamplingParams(top_k=top_k, top_p=top_p)])
    ours = kept / kept.sum()
    edge = (kept.cumsum(-1) - top_p).abs().min() < 1e-5  # a sum on the border may round either way
    assert edge or torch.allclose(ours, expected, atol=1e-5)


def test_draws_follow_the_probabilities() -> None:
    logits = torch.tensor([[0.0, 1.0, 2.0, -math.log(4)]])
    params = row(temperature=1.0, seed=3)
    counts = torch.zeros(4)
    batch = logits.expand(500, -1)
    for _ in range(20):
        for result in sample(batch, [params] * 500):
            counts[result.token] += 1
    expected = logits[0].softmax(-1) * 10_000
    assert ((counts - expected) ** 2 / expected).sum() < 21  # chi squared, 3 degrees of freedom, p = 1e-4


def test_top_k_of_one_is_greedy_and_a_tiny_top_p_too() -> None:
    logits = torch.randn(5, 40, generator=torch.Generator().manual_seed(1))
    for params in ({"top_k": 1}, {"top_p": 1e-6}):
        tokens = sample(logits, [row(temperature=5.0, seed=i, **params) for i in range(5)])
        assert [t.token for t in tokens] == logits.argmax(-1).tolist()


def test_a_draw_does_not_depend_on_the_batch() -> None:
    logits = torch.randn(4, 30, generator=torch.Generator().manual_seed(2))
    alone = [sample(logits[i : i + 1], [row(temperature=1.0, seed=i)])[0].token for i in range(4)]
    together = sample(logits, [row(temperature=1.0, seed=i) for i in range(4)])
    assert [t.token for t in together] == alone


def test_rows_that_are_not_finite_are_errors_of_their_own() -> None:
    logits = torch.zeros(4, 8)
    logits[1, 3], logits[2, 0] = float("nan"), float("inf")
    results = sample(logits, [row(), row(temperature=1.0, seed=1), row(), row(temperature=1.0, seed=1)])
    assert [isinstance(r, Sampled) for r in results] == [True, False, False, True]
    assert all(isinstance(r, RequestError) and r.status == 500 for r in results[1:3])
