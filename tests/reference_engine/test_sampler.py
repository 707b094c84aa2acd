"""Sampling: greedy, draws that invert the distribution exactly, and depend on seed, index and position alone."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reference_engine import hf
from reference_engine.errors import RequestError
from reference_engine.philox import uniforms
from reference_engine.sampler import Sampled, SampleRow, invert, sample
from reference_engine.sampling_params import SamplingParams


def row(*, index: int = 0, logprobs: bool = False, top_logprobs: int = 0, **params: Any) -> SampleRow:
    return SampleRow(SamplingParams(**params), [], index=index, logprobs=logprobs, top_logprobs=top_logprobs)


def draws(logits: torch.Tensor, count: int, *, index: int = 0, **params: Any) -> torch.Tensor:
    """How often each token comes in ``count`` positions of one choice with these logits throughout."""
    rows = [row(index=index, **params) for _ in range(count)]
    for position, one in enumerate(rows):
        one.output_ids, one.draws = range(position), rows[0].draws
    tokens = [made.token for made in sample(logits.expand(count, -1), rows)]
    return torch.bincount(torch.tensor(tokens), minlength=len(logits)).float()


def chi_squared(counts: torch.Tensor, probabilities: torch.Tensor) -> float:
    expected = probabilities * counts.sum()
    assert counts[expected == 0].sum() == 0, "a token was drawn that cannot be"
    kept = expected > 0
    return float(((counts - expected)[kept] ** 2 / expected[kept]).sum())


def test_greedy_takes_the_first_of_the_largest() -> None:
    logits = torch.tensor([[0.0, 2.0, 2.0], [5.0, 1.0, 0.0], [0.0, 2.0, 2.0]])
    tokens = sample(logits, [row(), row(temperature=1e-7), row(temperature=2.0, top_k=1)])
    assert [t.token for t in tokens] == [1, 0, 1]


def test_logprobs_are_the_models_own_whatever_changes_the_logits() -> None:
    logits = torch.randn(4, 50, generator=torch.Generator().manual_seed(0))
    changes: dict[str, Any] = {"temperature": 2.0, "top_k": 3, "seed": 1, "logit_bias": {4: 9.0}}
    rows = [
        row(logprobs=True),
        row(**changes, logprobs=True, top_logprobs=5),
        row(),
        row(logprobs=True, top_logprobs=9),
    ]
    raw = logits.clone()
    made = sample(logits, rows)
    assert torch.equal(logits, raw)
    for i, wanted in ((0, 0), (1, 5), (3, 9)):
        logprobs = raw[i].log_softmax(-1)
        assert made[i].logprob.logprob == pytest.approx(logprobs[made[i].token].item(), abs=1e-6)
        ids = logprobs.sort(descending=True).indices[:wanted].tolist()
        assert [token for token, _ in made[i].logprob.top] == ids
        assert [value for _, value in made[i].logprob.top] == pytest.approx(logprobs[ids].tolist(), abs=1e-6)
    assert made[2].logprob is None


@settings(deadline=None)
@given(st.lists(st.integers(0, 1 << 20), min_size=1, max_size=30), st.integers(0, (1 << 20) - 1))
def test_inversion_is_exact(weights: list[int], numerator: int) -> None:
    """Sums and products here are exact in a double: the first token whose cumulated weight is above the number's."""
    weights[-1] += 1  # so that something can be drawn
    number = numerator / (1 << 20)
    expected = next(i for i, summed in enumerate(itertools.accumulate(weights)) if summed > number * sum(weights))
    made = invert(torch.tensor([weights], dtype=torch.float64), torch.tensor([[number]], dtype=torch.float64))
    assert made.tolist() == [expected]


def test_the_last_number_below_one_draws_a_token_that_can_be_drawn() -> None:
    probabilities = torch.tensor([[0.5, 0.5, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]])
    assert invert(probabilities, torch.full((2, 1), 1 - 2**-53, dtype=torch.float64)).tolist() == [1, 0]
    assert invert(probabilities.flip(1), torch.zeros(2, 1, dtype=torch.float64)).tolist() == [2, 3]


@pytest.mark.parametrize("index", [0, 3])
@pytest.mark.parametrize(
    "params", [{}, {"top_k": 4}, {"top_p": 0.7}, {"min_p": 0.2}, {"repetition_penalty": 1.0, "logit_bias": {3: 2.0}}]
)
def test_draws_follow_transformers_distribution(index: int, params: dict[str, Any]) -> None:
    logits = torch.tensor([0.0, 1.0, 2.0, -math.log(4), 0.5, -3.0])
    warpers, scores = hf.transformers.generation.logits_process, logits[None]
    if bias := params.get("logit_bias"):
        biased = warpers.SequenceBiasLogitsProcessor({(i,): b for i, b in bias.items()})
        scores = biased(torch.zeros(1, 1, dtype=torch.int64), scores)
    scores = warpers.TemperatureLogitsWarper(1.5)(None, scores)
    cuts = {"top_k": warpers.TopKLogitsWarper, "top_p": warpers.TopPLogitsWarper, "min_p": warpers.MinPLogitsWarper}
    for name, warper in cuts.items():
        scores = warper(params[name])(None, scores) if name in params else scores
    counts = draws(logits, 3000, index=index, temperature=1.5, seed=3, **params)
    assert chi_squared(counts, scores[0].softmax(-1)) < 27.9  # 5 degrees of freedom, p = 4e-5


def test_what_is_drawn_is_the_inverse_of_seed_index_and_position() -> None:
    logits = torch.randn(200, generator=torch.Generator().manual_seed(8))
    one = row(temperature=0.7, seed=12, index=2)
    cumulated = (logits / 0.7).softmax(-1).double().cumsum(-1)
    for position, number in enumerate(uniforms(12, 2, torch.arange(40)).tolist()):
        [made] = sample(logits[None], [one])
        assert made.token == int((cumulated > number * cumulated[-1]).int().argmax())
        assert len(one.output_ids) == position
        one.output_ids.append(made.token)


def test_a_draw_does_not_depend_on_batch_or_order() -> None:
    options = [{}, {"top_p": 0.6}, {"top_k": 5}, {"min_p": 0.1}, {"presence_penalty": 1.0}, {"temperature": 0.0}]
    logits = torch.randn(6, 2000, generator=torch.Generator().manual_seed(2)) * 3
    make = [lambda i=i, o=o: row(**({"temperature": 1.0, "seed": i} | o)) for i, o in enumerate(options)]
    alone = [sample(logits[i : i + 1], [make[i]()])[0].token for i in range(6)]
    for order in (range(6), range(5, -1, -1), (2, 0, 5)):
        together = sample(logits[list(order)], [make[i]() for i in order])
        assert [t.token for t in together] == [alone[i] for i in order]


def test_a_choice_goes_on_as_if_nothing_had_happened() -> None:
    """The state after some tokens is that of a new row that was told the same tokens: resumption needs no more."""
    logits = torch.randn(30, 50, generator=torch.Generator().manual_seed(6)) * 2
    params: dict[str, Any] = {"temperature": 1.3, "seed": 5, "frequency_penalty": 1.0, "repetition_penalty": 1.4}
    whole, resumed = row(**params), row(**params)
    for step in range(30):
        whole.output_ids.append(sample(logits[step : step + 1], [whole])[0].token)
    resumed.output_ids.extend(whole.output_ids[:17])
    for step in range(17, 30):
        resumed.output_ids.append(sample(logits[step : step + 1], [resumed])[0].token)
    assert resumed.output_ids == whole.output_ids


def test_rows_that_are_not_finite_are_errors_of_their_own() -> None:
    logits = torch.zeros(4, 8)
    logits[1, 3], logits[2, 0] = float("nan"), float("inf")
    results = sample(logits, [row(), row(temperature=1.0, seed=1), row(), row(temperature=1.0, seed=1)])
    assert [isinstance(r, Sampled) for r in results] == [True, False, False, True]
    assert all(isinstance(r, RequestError) and r.status == 500 for r in results[1:3])
