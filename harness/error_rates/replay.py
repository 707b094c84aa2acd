"""Recorded pairs as many comparisons: how often each figure's verdict is wrong, how often a slowdown is found, how
soon.

A replayed comparison is made of blocks of pairs that followed each other in one launch, so that noise that lingers goes
on lingering, and a fresh coin for each pair, as in a real run. That makes the true ratio exactly 1; a slowdown is then
exact scaling. Beside them stand the real comparisons: every recorded launch, with its labels as they were.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from harness.checks.performance import CPU_TIME, ITL, METRICS, THROUGHPUT, TTFT, Metric
from harness.load.comparison import Pairs
from harness.stats import THOROUGH, Finding, Plan, judge_pairs
from harness.stats.error_rates import findings, shares
from harness.stats.sequential import Floats, log_ratios

COMPARISONS, BLOCK = 200, 10
LOSS, PLANTED = 0.05, 0.10
SLOWED = (THROUGHPUT, CPU_TIME, TTFT, ITL)
"""Figures that a slowdown of everything scales."""
JUDGED = (THROUGHPUT, CPU_TIME)
"""Those that a planted slowdown must show in: its other traces are not as large as it is."""


@dataclass(frozen=True)
class Rates:
    """Of one figure in ``comparisons`` replayed ones; ``seconds`` of pairs as long as the recorded ones."""

    figure: str
    noise: float
    """Half the width that holds two thirds of the pairs' log ratios."""
    unchanged: Mapping[str, float]
    at_limit: Mapping[str, float]
    """Had the candidate lost exactly the share that it may: the worst case that is no regression."""
    slowed: Mapping[str, float] | None
    pair_seconds: float


def replay(
    recorded: Mapping[int, Pairs], *, comparisons: int = COMPARISONS, plan: Plan = THOROUGH, seed: int = 0
) -> tuple[list[Rates], float, float]:
    """Rates by figure; share of comparisons in which any figure was falsely red; share in which throughput or
    processor time showed the slowdown.
    """
    blocks = draw_blocks([len(pairs.elapsed) for pairs in recorded.values()], comparisons, plan.looks[-1], seed)
    coins = np.random.default_rng(seed + 1).choice((-1.0, 1.0), (comparisons, plan.looks[-1]))
    seconds = float(np.median(np.concatenate([np.diff(pairs.elapsed) for pairs in recorded.values()])))
    rates: list[Rates] = []
    red, seen = np.zeros(comparisons, bool), np.zeros(comparisons, bool)
    for metric in METRICS:
        noise = np.concatenate([log_ratios(*pairs.values(metric)) for pairs in recorded.values()])
        made = noise[blocks] * coins
        same = _judge(made, metric, 0.0, plan)
        slow = _judge(made, metric, PLANTED, plan) if metric in SLOWED else None
        red |= _regressed(same)
        seen |= _regressed(slow) if slow is not None and metric in JUDGED else False
        width = float(np.diff(np.quantile(noise, (1 / 6, 5 / 6)))[0] / 2)
        at_limit = shares(_judge(made, metric, LOSS, plan))
        rates.append(Rates(metric.name, width, shares(same), at_limit, None if slow is None else shares(slow), seconds))
    return rates, float(red.mean()), float(seen.mean())


def draw_blocks(lengths: Sequence[int], comparisons: int, pairs: int, seed: int) -> np.ndarray[tuple[int, int]]:
    """[comparisons, pairs] places in the launches put end to end. A comparison's blocks are of one launch, whose noise
    it has; those that reach beyond the launch's end go on at its beginning.
    """
    rng = np.random.default_rng(seed)
    starts = np.concatenate(([0], np.cumsum(lengths)[:-1]))
    rows = []
    for launch in rng.integers(len(lengths), size=comparisons):
        begins = rng.integers(lengths[launch], size=-(-pairs // BLOCK))
        places = (begins[:, None] + np.arange(BLOCK)).ravel()[:pairs] % lengths[launch]
        rows.append(starts[launch] + places)
    return np.array(rows)


def _judge(made: Floats, metric: Metric, loss: float, plan: Plan) -> list[Finding]:
    true = metric.limit(loss) if loss else 1.0
    better = metric.higher_is_better
    return findings(made, true_ratio=true, limit=metric.limit(LOSS), plan=plan, higher_is_better=better)


def _regressed(found: Sequence[Finding]) -> np.ndarray[tuple[int]]:
    return np.array([one.outcome == "regressed" for one in found])


@dataclass(frozen=True)
class Real:
    """One recorded launch as the comparison it was. ``seconds`` to the verdict; None for a figure that has none."""

    launch: int
    figure: str
    finding: Finding
    seconds: float | None


def real_comparisons(recorded: Mapping[int, Pairs], metrics: Sequence[Metric], plan: Plan = THOROUGH) -> list[Real]:
    found = []
    for launch, pairs in recorded.items():
        for metric in metrics:
            values, better = pairs.values(metric), metric.higher_is_better
            one = judge_pairs(*values, metric.limit(LOSS), higher_is_better=better, plan=plan)
            if one is not None:
                seconds = None if one.outcome == "inconclusive" else pairs.elapsed[one.pairs - 1]
                found.append(Real(launch, metric.name, one, seconds))
    return found
