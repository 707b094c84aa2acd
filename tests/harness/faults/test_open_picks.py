"""What is called open is all that logits within the noise can lead to, and next to nothing else."""

from __future__ import annotations

import math

import pytest
import torch

from harness.differential.open_picks import open_greedily, open_tokens
from harness.differential.seen import LOGIT_NOISE, Choice, Seen, difference
from reference_engine import SamplingParams
from reference_engine.sampler import Sampled, SampleRow, sample

PARAMS = {
    "greedy": SamplingParams(),
    "drawn": SamplingParams(temperature=1.5),
    "cold": SamplingParams(temperature=0.3),
    "top-k": SamplingParams(temperature=1.0, top_k=5),
    "top-p": SamplingParams(temperature=1.0, top_p=0.7),
    "both": SamplingParams(temperature=1.2, top_k=8, top_p=0.8),
    "min-p": SamplingParams(temperature=1.0, min_p=0.2),
}


def picked(logits_BV: torch.Tensor, row: SampleRow) -> set[int]:
    return {made.token for made in sample(logits_BV, [row] * len(logits_BV)) if isinstance(made, Sampled)}


@pytest.mark.parametrize("name", PARAMS)
def test_whatever_noise_can_pick_is_open(name: str) -> None:
    """Logits that are level within the noise in many places, and noise that is as large as it may be."""
    params, counts = PARAMS[name], []
    for seed in range(30):
        random = torch.Generator().manual_seed(seed)
        logits_V = torch.randn(24, generator=random).mul(40).round().div(40) + torch.rand(24, generator=random) * 1e-3
        row = SampleRow(SamplingParams(**(vars(params) | {"seed": seed})), [])
        found = open_tokens(logits_V, row.params, None if row.is_greedy else row.draws.at(0))
        signs_BV = torch.randint(0, 2, (30, 24), generator=random) * 2 - 1
        seen = picked(logits_V[None], row) | picked(logits_V + signs_BV * LOGIT_NOISE * 0.99, row)
        assert len(seen) >= 1
        assert seen <= found, f"seed {seed}"
        counts.append(len(found))
    assert sum(count == 1 for count in counts) > 18


def test_a_clear_winner_leaves_nothing_open() -> None:
    logits_V = torch.tensor([0.0, 3.0, -math.inf])
    assert open_tokens(logits_V, SamplingParams(), None) == {1}
    assert open_tokens(logits_V, SamplingParams(temperature=1.0), 0.5) == {1}
    assert open_tokens(torch.tensor([3.0, 3.0 - LOGIT_NOISE, 2.9]), SamplingParams(), None) == {0, 1}


def test_what_is_open_can_be_told_from_the_likeliest_tokens_of_an_answer() -> None:
    """As from the logits themselves, wherever fewer are open than are told."""
    for seed in range(30):
        logits_V = torch.randn(24, generator=torch.Generator().manual_seed(seed)).mul(400).round().div(400).double()
        values, ids = logits_V.log_softmax(-1).topk(5)
        place = list(zip(ids.tolist(), values.tolist(), strict=True))
        assert open_greedily([place]) == [open_tokens(logits_V, SamplingParams(), None)], f"seed {seed}"
    level, clear = [(7, -1.0), (8, -1.0 - LOGIT_NOISE)], [(7, -1.0), (8, -1.1)]
    assert open_greedily([clear, level, clear]) == [{7}, {7, 8}, {7}]
    assert Choice(open=open_greedily([clear, level, clear])).settled == 1


def answered(*ids: int, text: str = "") -> Seen:
    return Seen(200, choices=[Choice(list(ids), text, [-1.0] * len(ids), open=[{5}, {7, 8}, {9}][: len(ids)])])


def test_only_what_is_open_may_differ_and_what_follows_it() -> None:
    expected = answered(5, 7, 9, text="abc")
    assert difference(expected, answered(5, 8, 1, text="xyz")) is None
    assert difference(expected, answered(5, 6, 9)) == "choice 0: ids [5, 6, 9], not [5, 7, 9]"
    assert difference(expected, answered(6, 8, 9)) == "choice 0: ids [6, 8, 9], not [5, 7, 9]"
    wrong = answered(5, 8, 1)
    wrong.choices[0].logprobs[0] = -2.0
    assert "log-probabilities" in str(difference(expected, wrong))
    assert "text 'xyz'" in str(difference(expected, answered(5, 7, 9, text="xyz")))
