"""A verdict on a noisy ratio after as few pairs as will do, at error rates that hold whatever the machine's noise is.

Pairs are two rounds next to each other in time, their order drawn by a coin. Under the hypothesis that the candidate
is ``ratio`` times the baseline, each ``log(candidate / baseline) - log(ratio)`` then has a fair coin's sign whatever
made it large: drift, heavy tails and noise that lingers from pair to pair included. So Wilcoxon's signed-rank
distribution is exact, and so is the interval of all ratios that it does not reject (Hodges and Lehmann, 1963).

Data are looked at a few times, planned beforehand. Each look may err with ``alpha / looks`` on each side: by the
union bound the whole procedure errs with at most ``alpha`` a side, however the looks depend on each other. The first
look that decides is the verdict; later pairs do not change it. How this compares with other rules is in
``results/ab``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from harness.stats.paired import Outcome, Ratio, judge_ratio

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Plan:
    """Numbers of pairs at which to look, ascending, and the error that all looks together may make on each side."""

    looks: tuple[int, ...]
    alpha: float = 0.005

    def __post_init__(self) -> None:
        if not self.looks or sorted(set(self.looks)) != list(self.looks):
            raise ValueError(f"looks: {self.looks} do not ascend")
        if 0.5 ** self.looks[0] > self.alpha_a_look:
            raise ValueError(f"looks: {self.looks[0]} pairs can reject nothing at {self.alpha_a_look:.2g}")

    @property
    def alpha_a_look(self) -> float:
        return self.alpha / len(self.looks)


QUICK = Plan((10, 14, 20))
THOROUGH = Plan((11, 16, 24, 36, 54, 80, 120, 180, 270, 400))


@dataclass(frozen=True)
class Finding:
    """Where the first look that decided stood, or the last one taken. ``ratio``'s confidence is that of this look."""

    outcome: Outcome
    ratio: Ratio
    looks: int
    """Looks taken, the deciding one included."""

    @property
    def pairs(self) -> int:
        return self.ratio.rounds


def judge_pairs(
    baseline: Sequence[float] | Floats,
    candidate: Sequence[float] | Floats,
    limit: float,
    *,
    higher_is_better: bool,
    plan: Plan = QUICK,
) -> Finding | None:
    """``limit`` is the worst ratio that is no regression. None before the first look; figures must be above zero."""
    differences = log_ratios(baseline, candidate)
    finding: Finding | None = None
    for number, pairs in enumerate(plan.looks, 1):
        if pairs > len(differences):
            break
        ratio = ratio_interval(differences[:pairs], plan.alpha_a_look)
        finding = Finding(judge_ratio(ratio, limit, higher_is_better=higher_is_better), ratio, number)
        if finding.outcome != "inconclusive":
            break
    return finding


def log_ratios(baseline: Sequence[float] | Floats, candidate: Sequence[float] | Floats) -> Floats:
    if len(baseline) != len(candidate):
        raise ValueError(f"{len(baseline)} and {len(candidate)} rounds are no pairs")
    base, cand = np.asarray(baseline, np.float64), np.asarray(candidate, np.float64)
    if not (np.all(base > 0) and np.all(cand > 0)):
        raise ValueError("a ratio needs figures above zero")
    return np.log(cand / base)


def ratio_interval(differences: Floats, alpha: float) -> Ratio:
    """Of log ratios: the Hodges-Lehmann estimate, and an interval that misses with at most ``alpha`` on each side."""
    value, low, high = np.exp(signed_rank_interval(differences, alpha))
    return Ratio(float(value), float(low), float(high), 1 - 2 * alpha, len(differences))


def signed_rank_interval(differences: Floats, alpha: float) -> tuple[float, float, float]:
    """Centre of symmetry of ``differences``: estimate, low, high. Infinite ends where so few cannot reject anything."""
    first, second = _every_two(len(differences))
    means = (differences[first] + differences[second]) / 2  # Walsh averages
    outside = _rejected(len(differences), alpha)
    if outside == 0:
        return float(np.median(means)), -np.inf, np.inf
    ends = np.partition(means, (outside - 1, len(means) - outside))
    return float(np.median(means)), float(ends[outside - 1]), float(ends[-outside])


@lru_cache(maxsize=32)
def _every_two(pairs: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    return np.triu_indices(pairs)


@lru_cache(maxsize=256)
def _rejected(pairs: int, alpha: float) -> int:
    """How many values of the signed-rank sum, from 0 up, have at most probability ``alpha`` together."""
    chances = np.ones(1)
    for rank in range(1, pairs + 1):
        chances = (np.pad(chances, (0, rank)) + np.pad(chances, (rank, 0))) / 2
    return int(np.searchsorted(np.cumsum(chances), alpha, side="right"))
