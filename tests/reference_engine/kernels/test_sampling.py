"""The kernel picks what the CPU's sampler picks, for the same logits, parameters, seed, choice and position."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.reference_engine.kernels.runnable import need_triton

DEVICE = need_triton()

from reference_engine.philox import uniforms  # noqa: E402
from reference_engine.sampler import SampleRow, pick_by_kernel, pick_in_torch  # noqa: E402
from reference_engine.sampling_params import SamplingParams  # noqa: E402

VOCABULARIES = (1, 7, 1000, 9001)
"""Less than what is read at once, and more, and not whole blocks of it."""
PARAMS: list[dict[str, Any]] = [
    {"temperature": 0.0}, {"temperature": 0.7, "top_k": 1}, {"temperature": 1.0}, {"temperature": 0.3},
    {"temperature": 1.3, "top_k": 5}, {"temperature": 1.0, "top_k": 10**6}, {"temperature": 0.9, "top_p": 0.6},
    {"temperature": 1.0, "top_p": 0.0001}, {"temperature": 1.0, "top_p": 0.99999}, {"temperature": 1.5, "min_p": 0.1},
    {"temperature": 1.1, "min_p": 1.0}, {"temperature": 1.2, "top_k": 50, "top_p": 0.8, "min_p": 0.02},
]  # fmt: skip


def row(position: int, index: int = 0, **params: Any) -> SampleRow:
    return SampleRow(SamplingParams(**params), [0] * position, index=index)


def both(logits_BV: Tensor, rows: list[SampleRow], model_logits_BV: Tensor | None = None) -> tuple[Tensor, Tensor]:
    model_logits_BV = logits_BV if model_logits_BV is None else model_logits_BV
    ours = pick_by_kernel(logits_BV.to(DEVICE), model_logits_BV.to(DEVICE), rows)
    return ours.cpu(), pick_in_torch(logits_BV, model_logits_BV, rows)


@pytest.mark.parametrize("vocabulary", VOCABULARIES)
def test_every_kind_of_row_in_one_batch(vocabulary: int) -> None:
    rows = [
        row(37 * n + i, index=i, seed=(1 << 62) // (n + 1) + i, **params)
        for n in range(3)
        for i, params in enumerate(PARAMS)
    ]
    logits = torch.randn(len(rows), vocabulary, generator=torch.Generator().manual_seed(vocabulary)) * 3
    ours, cpus = both(logits, rows)
    assert ours.tolist() == cpus.tolist()


@pytest.mark.parametrize("params", PARAMS[2:])
def test_many_positions_of_one_choice(params: dict[str, Any]) -> None:
    rows = [row(position, index=2, seed=11, **params) for position in range(40)]
    logits = torch.randn(300, generator=torch.Generator().manual_seed(5)).expand(40, -1)
    ours, cpus = both(logits, rows)
    assert ours.tolist() == cpus.tolist()
    if params.get("min_p") != 1.0 and params.get("top_p", 1.0) > 0.01:
        assert len(ours[:, 0].unique()) > 3, "one token proves nothing"


def test_ties_are_kept_or_broken_as_on_the_cpu() -> None:
    """Equal logits, zeros of both signs among them, around every kind of cut."""
    logits = torch.tensor([0.0, 2.0, -0.0, 2.0, 0.0, -1.0, 2.0, -math.inf]).expand(20, -1)
    for params in ({"top_k": 2}, {"top_k": 5}, {"top_p": 0.3}, {"top_p": 0.95}, {"min_p": math.exp(-2)}):
        rows = [row(i, seed=3, temperature=1.0, **params) for i in range(20)]
        ours, cpus = both(logits, rows, torch.zeros_like(logits))
        assert ours.tolist() == cpus.tolist(), params
    greedy, _ = both(logits, [row(0)] * 20, torch.zeros_like(logits))
    assert set(greedy[:, 0].tolist()) == {1}


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # numpy, in the interpreter
def test_rows_that_are_not_finite_are_told_and_hurt_nobody() -> None:
    logits = torch.zeros(6, 9)
    logits[1, 3], logits[2, 0], logits[3, 8], logits[4] = math.nan, math.inf, -math.inf, math.nan
    rows = [row(0, temperature=t, seed=1) for t in (0.0, 1.0, 1.0, 0.0, 1.0, 1.0)]
    ours, cpus = both(logits, rows)
    assert ours[:, 1].tolist() == cpus[:, 1].tolist() == [1, 0, 0, 0, 0, 1]
    assert ours[[0, 5], 0].tolist() == cpus[[0, 5], 0].tolist()
    assert ((ours[:, 0] >= 0) & (ours[:, 0] < 9)).all(), "a token that is looked up later"


def test_excluded_tokens_do_not_make_a_row_wrong() -> None:
    logits = torch.tensor([[-math.inf, 1.0, -math.inf]])
    ours, cpus = both(logits, [row(0, temperature=1.0, seed=1)], torch.zeros(1, 3))
    assert ours.tolist() == cpus.tolist() == [[1, 1]]


def test_the_number_is_philoxs() -> None:
    """Inverting a flat distribution shows the number itself."""
    rows = [row(position, index=5, seed=2**63 - 1, temperature=1.0) for position in range(40)]
    ours, _ = both(torch.zeros(40, 4096), rows)
    expected = (uniforms(2**63 - 1, 5, torch.arange(40)) * 4096).long()
    assert ours[:, 0].tolist() == expected.tolist()


def test_a_row_picks_the_same_in_every_batch() -> None:
    rows = [row(i, seed=i, **params) for i, params in enumerate(PARAMS)]
    logits = torch.randn(len(rows), 500, generator=torch.Generator().manual_seed(9))
    whole, _ = both(logits, rows)
    for i in range(len(rows)):
        assert torch.equal(both(logits[i : i + 1], rows[i : i + 1])[0], whole[i : i + 1])
    assert torch.equal(both(logits.flip(0), rows[::-1])[0].flip(0), whole)
