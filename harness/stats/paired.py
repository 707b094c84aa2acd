"""Statistics thin over scipy: paired accuracy, paired ratios with a bootstrap interval, three outcomes.

Nothing here guesses: an interval that straddles its limit is ``inconclusive``. Verdicts on a regression are made by
:mod:`harness.stats.sequential`; :func:`paired_ratio` is for a benchmark of few rounds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.stats import binomtest

Outcome = Literal["regressed", "not_regressed", "inconclusive"]


def mcnemar_worse(lost: int, gained: int) -> float:
    """Exact one-sided McNemar test: how likely that many losses among the changed answers are if nothing got worse."""
    if lost + gained == 0:
        return 1.0
    return float(binomtest(lost, lost + gained, 0.5, alternative="greater").pvalue)


@dataclass(frozen=True)
class Ratio:
    """Candidate over baseline, with an interval at ``confidence``."""

    value: float
    low: float
    high: float
    confidence: float
    rounds: int


def paired_ratio(
    baseline: Sequence[float],
    candidate: Sequence[float],
    *,
    confidence: float = 0.95,
    seed: int = 0,
    resamples: int = 4000,
) -> Ratio:
    """Ratio of medians of paired rounds; the interval resamples whole rounds, so what drifts with time cancels."""
    if len(baseline) != len(candidate) or len(baseline) < 2:
        raise ValueError(f"need at least two pairs, got {len(baseline)} and {len(candidate)} rounds")
    base, cand = np.asarray(baseline, float), np.asarray(candidate, float)
    draws = np.random.default_rng(seed).integers(len(base), size=(resamples, len(base)))
    ratios = np.median(cand[draws], axis=1) / np.median(base[draws], axis=1)
    low, high = np.quantile(ratios, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Ratio(float(np.median(cand) / np.median(base)), float(low), float(high), confidence, len(base))


def judge_ratio(ratio: Ratio, limit: float, *, higher_is_better: bool) -> Outcome:
    """``limit`` is the worst ratio that still is no regression: below 1 for a rate, above 1 for a time."""
    if higher_is_better:
        worse, fine = ratio.high < limit, ratio.low >= limit
    else:
        worse, fine = ratio.low > limit, ratio.high <= limit
    return "regressed" if worse else "not_regressed" if fine else "inconclusive"
