"""The sequential rule against others that were candidates, on noises that are made from a seed: why it was chosen.

Each rule gets the same rows of log ratios and says regressed, not regressed or nothing, and after how many pairs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, lru_cache

import numpy as np
from scipy.stats import norm, rankdata, t

from harness.stats import THOROUGH, Plan
from harness.stats.error_rates import NOISES, findings, noise
from harness.stats.sequential import Floats

Decided = tuple[str, int]
"""Outcome, and the pairs it took."""
LIMIT, COMPARISONS, SCALE = 0.95, 200, 0.1
TRUTHS = {"at the limit": 0.95, "unchanged": 1.0, "a tenth slower": 0.9}
DRAWS = 4000


def signed_rank(rows: Floats, plan: Plan = THOROUGH) -> list[Decided]:
    """Wilcoxon's interval at each look, the error shared evenly: the union bound. This is what is used."""
    return [(one.outcome, one.pairs) for one in findings(rows, true_ratio=1.0, limit=LIMIT, plan=plan)]


def signed_rank_joint(rows: Floats) -> list[Decided]:
    """The same, the error a look so large that all looks together err with ``alpha`` if pairs are independent
    (Pocock's, found by simulation).
    """
    return signed_rank(rows, replace(THOROUGH, alpha=len(THOROUGH.looks) * joint_alpha()))


def student(rows: Floats) -> list[Decided]:
    """Student's interval at each look, the error shared evenly."""
    return [_by_interval(row, THOROUGH.looks, lambda n: t.isf(THOROUGH.alpha_a_look, n - 1) / n**0.5) for row in rows]


def repeated(rows: Floats) -> list[Decided]:
    """Student's interval at each look as if it were the only one: what a script that watches a benchmark does."""
    return [_by_interval(row, THOROUGH.looks, lambda n: t.isf(THOROUGH.alpha, n - 1) / n**0.5) for row in rows]


def always_valid(rows: Floats) -> list[Decided]:
    """A confidence sequence, looked at after every pair: Robbins' normal mixture, best at 50 pairs, with the standard
    deviation seen so far in place of the true one.
    """
    level = 2 * THOROUGH.alpha
    tuned = (-2 * np.log(level) + np.log(-2 * np.log(level)) + 1) / 50

    def radius(n: int) -> float:
        spread = n * tuned + 1
        return float((2 * spread / (n**2 * tuned) * np.log(spread**0.5 / level)) ** 0.5)

    every = range(THOROUGH.looks[0], THOROUGH.looks[-1] + 1)
    return [_by_interval(row, every, radius) for row in rows]


def _by_interval(row: Floats, looks: range | tuple[int, ...], radius: Callable[[int], float]) -> Decided:
    """``radius`` in standard deviations of one pair."""
    for pairs in looks:
        seen = row[:pairs]
        middle, half = float(seen.mean()), float(seen.std(ddof=1)) * radius(pairs)
        if middle + half < np.log(LIMIT):
            return "regressed", pairs
        if middle - half >= np.log(LIMIT):
            return "not_regressed", pairs
    return "inconclusive", looks[-1]


@lru_cache(maxsize=1)
def joint_alpha() -> float:
    """The error a look at which independent pairs of no effect are rejected with ``alpha`` by any of the looks."""
    rng = np.random.default_rng(0)
    least = np.ones(DRAWS)
    signs, sizes = rng.choice((0.0, 1.0), (DRAWS, THOROUGH.looks[-1])), rng.random((DRAWS, THOROUGH.looks[-1]))
    for pairs in THOROUGH.looks:
        sums = (rankdata(sizes[:, :pairs], axis=1) * signs[:, :pairs]).sum(axis=1)
        tails = {value: _tail(int(value), pairs) for value in np.unique(sums)}
        least = np.minimum(least, [tails[value] for value in sums])
    return float(np.quantile(least, THOROUGH.alpha))


@cache
def _tail(value: int, pairs: int) -> float:
    """P(signed-rank sum >= value)."""
    middle, deviation = pairs * (pairs + 1) / 4, (pairs * (pairs + 1) * (2 * pairs + 1) / 24) ** 0.5
    return float(norm.sf((value - 0.5 - middle) / deviation))


RULES: dict[str, Callable[[Floats], list[Decided]]] = {
    "signed rank, error shared (used)": signed_rank,
    "signed rank, looks taken jointly": signed_rank_joint,
    "Student's t, error shared": student,
    "always valid, after every pair": always_valid,
    "Student's t, each look on its own": repeated,
}


@dataclass(frozen=True)
class RuleRow:
    rule: str
    noise: str
    false_red: float
    """Regressed, at a true ratio that is exactly the limit."""
    found: float
    """Regressed, a tenth slower."""
    settled: float
    """Not regressed, unchanged."""
    pairs: float
    """Median of a tenth slower, undecided ones at the last look."""


def compare_rules(comparisons: int = COMPARISONS, seed: int = 0) -> list[RuleRow]:
    rows = []
    for name in NOISES:
        made = noise(name, comparisons, THOROUGH.looks[-1], seed=seed, scale=SCALE)
        for rule, decide in RULES.items():
            seen = {truth: decide(made + np.log(ratio)) for truth, ratio in TRUTHS.items()}

            def share(truth: str, outcome: str, seen: dict[str, list[Decided]] = seen) -> float:
                return sum(found == outcome for found, _ in seen[truth]) / comparisons

            pairs = float(np.median([taken for _, taken in seen["a tenth slower"]]))
            red, found = share("at the limit", "regressed"), share("a tenth slower", "regressed")
            rows.append(RuleRow(rule, name, red, found, share("unchanged", "not_regressed"), pairs))
    return rows
