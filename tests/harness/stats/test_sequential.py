"""The sequential verdict: its distribution is scipy's, and its errors are as rare as it says on noise that is not
kind."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import wilcoxon

from harness.stats import THOROUGH, Plan, judge_pairs, signed_rank_interval
from harness.stats.error_rates import NOISES, findings, noise, shares
from harness.stats.sequential import Floats


def error_rates(made: Floats, *, true_ratio: float, limit: float) -> dict[str, float]:
    return shares(findings(made, true_ratio=true_ratio, limit=limit))


def test_the_interval_is_what_scipys_exact_test_does_not_reject() -> None:
    rng = np.random.default_rng(1)
    for pairs in (6, 11, 20):
        differences, alpha = rng.normal(0.1, 1.0, pairs), 0.03
        value, low, high = signed_rank_interval(differences, alpha)
        assert low < value < high
        for end, inside in ((low, 1e-9), (low, -1e-9), (high, -1e-9), (high, 1e-9)):
            side = "greater" if end == low else "less"
            rejected = wilcoxon(differences - end - inside, alternative=side, method="exact").pvalue <= alpha
            assert rejected == ((inside < 0) == (end == low)), (pairs, end, inside)


def test_too_few_pairs_have_no_interval() -> None:
    assert signed_rank_interval(np.array([1.0, 2.0, 3.0]), 0.1)[1:] == (-np.inf, np.inf)


def test_a_plan_whose_first_look_can_reject_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="5 pairs can reject nothing"):
        Plan((5, 10), alpha=0.01)
    with pytest.raises(ValueError, match="do not ascend"):
        Plan((20, 10))


def test_the_first_look_that_decides_stays() -> None:
    plan = Plan((8, 16), alpha=0.05)
    base, slow = [100.0] * 16, [80.0] * 8 + [120.0] * 8
    found = judge_pairs(base, slow, 0.95, higher_is_better=True, plan=plan)
    assert found is not None
    assert (found.outcome, found.looks, found.pairs) == ("regressed", 1, 8)
    assert judge_pairs(base[:7], slow[:7], 0.95, higher_is_better=True, plan=plan) is None


def test_figures_that_have_no_ratio_are_refused() -> None:
    with pytest.raises(ValueError, match="above zero"):
        judge_pairs([1.0] * 12, [0.0] * 12, 0.95, higher_is_better=True)
    with pytest.raises(ValueError, match="no pairs"):
        judge_pairs([1.0] * 12, [1.0] * 11, 0.95, higher_is_better=True)


@pytest.mark.parametrize("name", sorted(NOISES))
def test_false_regressions_are_as_rare_as_promised_even_at_the_limit(name: str) -> None:
    """At a true ratio of exactly the limit, the worst case that is no regression: at most 0.5 % each way."""
    rates = error_rates(noise(name, 300, THOROUGH.looks[-1], seed=3), true_ratio=0.95, limit=0.95)
    assert rates["regressed"] <= 0.005 + 3 * (0.005 * 0.995 / 300) ** 0.5
    assert rates["not_regressed"] <= 0.005 + 3 * (0.005 * 0.995 / 300) ** 0.5


@pytest.mark.parametrize("name", sorted(NOISES))
def test_a_tenth_is_found_and_nothing_is_not(name: str) -> None:
    quiet = noise(name, 100, THOROUGH.looks[-1], seed=4, scale=0.08)
    assert error_rates(quiet, true_ratio=0.90, limit=0.95)["regressed"] >= 0.95
    assert error_rates(quiet, true_ratio=1.00, limit=0.95)["regressed"] == 0.0


def test_without_the_coin_lingering_noise_is_taken_for_a_regression() -> None:
    """Why the order is drawn: the same noise with the baseline always first breaks the promise."""
    fixed = noise("trend within pairs", 400, THOROUGH.looks[-1], seed=5, coin=False)
    assert error_rates(fixed, true_ratio=0.95, limit=0.95)["regressed"] > 0.05
