"""How often the sequential verdict errs, and how many pairs it takes, on noise that is made here or was recorded.

A comparison is a row of noise: for each pair the log of the second round over the first in time, had both been of one
setting. The coin gives it its sign, ``true_ratio`` is what the candidate really does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from harness.stats.sequential import THOROUGH, Finding, Floats, Plan, judge_pairs


def heavy_tails(rng: np.random.Generator, comparisons: int, pairs: int) -> Floats:
    """Student's t with two degrees of freedom: no variance at all."""
    return rng.standard_t(2, (comparisons, pairs))


def autocorrelated(rng: np.random.Generator, comparisons: int, pairs: int) -> Floats:
    """Each pair keeps 0.9 of the one before."""
    steps = rng.normal(0, np.sqrt(1 - 0.9**2), (comparisons, pairs))
    steps[:, 0] = rng.normal(0, 1, comparisons)
    for pair in range(1, pairs):
        steps[:, pair] += 0.9 * steps[:, pair - 1]
    return steps


def bursts(rng: np.random.Generator, comparisons: int, pairs: int) -> Floats:
    """Quiet, but for spells of 20 pairs in which somebody else uses the machine."""
    busy = np.repeat(rng.random((comparisons, -(-pairs // 20))) < 0.25, 20, axis=1)[:, :pairs]
    return np.where(busy, 3.0, 0.3) * rng.normal(0, 1, (comparisons, pairs))


def trend_within_pairs(rng: np.random.Generator, comparisons: int, pairs: int) -> Floats:
    """Whoever goes second is slower, always by about as much: warmth, or a machine that fills up."""
    return rng.normal(-1.0, 0.5, (comparisons, pairs))


def skewed(rng: np.random.Generator, comparisons: int, pairs: int) -> Floats:
    """Delays are never negative: mostly small, now and then long."""
    return rng.exponential(1.0, (comparisons, pairs)) - 0.7


NOISES: dict[str, Callable[[np.random.Generator, int, int], Floats]] = {
    "heavy tails": heavy_tails,
    "autocorrelated": autocorrelated,
    "bursts": bursts,
    "trend within pairs": trend_within_pairs,
    "skewed": skewed,
}


def noise(name: str, comparisons: int, pairs: int, *, seed: int, scale: float = 0.2, coin: bool = True) -> Floats:
    """[comparisons, pairs] of candidate over baseline as logs, at a true ratio of 1."""
    rng = np.random.default_rng(seed)
    made = scale * NOISES[name](rng, comparisons, pairs)
    return made * rng.choice((-1.0, 1.0), made.shape) if coin else made


def findings(
    made: Floats, *, true_ratio: float, limit: float, plan: Plan = THOROUGH, higher_is_better: bool = True
) -> list[Finding]:
    """One a comparison, had the candidate been ``true_ratio`` times the baseline."""
    found = []
    for row in made:
        candidate = true_ratio * np.exp(row)
        one = judge_pairs(np.ones(len(row)), candidate, limit, higher_is_better=higher_is_better, plan=plan)
        assert one is not None, f"{len(row)} pairs are too few for a look"
        found.append(one)
    return found


def shares(found: Sequence[Finding]) -> dict[str, float]:
    """Of the three outcomes; median and 95th percentile of the pairs that decisions took (NaN without any)."""
    outcomes: list[str] = [one.outcome for one in found]
    names = ("regressed", "not_regressed", "inconclusive")
    taken = [one.pairs for one in found if one.outcome != "inconclusive"]
    median, late = np.percentile(taken, (50, 95)) if taken else (float("nan"), float("nan"))
    counted = {name: outcomes.count(name) / len(outcomes) for name in names}
    return counted | {"pairs_median": float(median), "pairs_95": float(late)}
