from __future__ import annotations

import random

import pytest

from harness.stats import Ratio, judge_ratio, mcnemar_worse, paired_ratio


def test_mcnemar_counts_only_changed_answers() -> None:
    assert mcnemar_worse(0, 0) == 1.0
    assert mcnemar_worse(5, 0) == pytest.approx(0.5**5)
    assert mcnemar_worse(3, 3) > 0.5
    assert mcnemar_worse(0, 9) == 1.0


def test_drift_of_the_machine_cancels_in_pairs() -> None:
    slow_down = [100 / (1 + 0.05 * number) for number in range(12)]
    ratio = paired_ratio(slow_down, [0.9 * value for value in slow_down])
    assert ratio.value == pytest.approx(0.9)
    assert ratio.low == pytest.approx(0.9)
    assert ratio.high == pytest.approx(0.9)


def test_the_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    rng = random.Random(1)
    inside = 0
    for trial in range(100):
        rounds = [(rng.gauss(100, 5), rng.gauss(95, 5)) for _ in range(16)]
        ratio = paired_ratio([a for a, _ in rounds], [b for _, b in rounds], seed=trial, resamples=500)
        inside += ratio.low <= 0.95 <= ratio.high
    assert inside >= 88


@pytest.mark.parametrize(
    ("low", "high", "outcome"),
    [(0.5, 0.7, "regressed"), (0.85, 1.1, "not_regressed"), (0.7, 0.9, "inconclusive")],
)
def test_a_rate_has_three_outcomes(low: float, high: float, outcome: str) -> None:
    assert judge_ratio(Ratio((low + high) / 2, low, high, 0.95, 8), 0.8, higher_is_better=True) == outcome


@pytest.mark.parametrize(
    ("low", "high", "outcome"),
    [(1.3, 1.7, "regressed"), (0.9, 1.2, "not_regressed"), (1.1, 1.4, "inconclusive")],
)
def test_a_time_is_judged_the_other_way_round(low: float, high: float, outcome: str) -> None:
    assert judge_ratio(Ratio((low + high) / 2, low, high, 0.95, 8), 1.25, higher_is_better=False) == outcome


def test_one_pair_is_too_few() -> None:
    with pytest.raises(ValueError, match="at least two pairs"):
        paired_ratio([1.0], [1.0])
