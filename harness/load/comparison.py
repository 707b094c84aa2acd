"""Rounds of two settings in pairs next to each other in time, until every figure has its verdict or the plan ends.

A coin, drawn from the seed, says which of a pair goes first: that is what makes :mod:`harness.stats.sequential` exact.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from harness.checks.performance import METRICS, Compared, Metric, not_slower
from harness.verdict import Verdict

Figures = Mapping[str, float]
Play = Callable[[int], Figures]
"""One round (or what stands for one) of side 0, the baseline, or 1, the candidate."""


@dataclass
class Pairs:
    first: list[Figures] = field(default_factory=list)
    second: list[Figures] = field(default_factory=list)
    elapsed: list[float] = field(default_factory=list)
    """Seconds from the start to the end of each pair."""

    def values(self, metric: Metric) -> tuple[list[float], list[float]]:
        """Of the pairs in which both sides have the figure."""
        both = [
            (a[metric.name], b[metric.name])
            for a, b in zip(self.first, self.second, strict=True)
            if metric.name in a and metric.name in b
        ]
        return [a for a, _ in both], [b for _, b in both]


def compare(
    play: Play,
    compared: Compared,
    *,
    seed: int = 0,
    metrics: Sequence[Metric] = METRICS,
    budget: float | None = None,
    on_pair: Callable[[Pairs], None] = lambda pairs: None,
) -> list[Verdict]:
    """One verdict a metric. ``budget`` is of seconds: no pair is begun after it, and what is open then stays open."""
    pairs, coin, started = Pairs(), random.Random(f"{seed} {compared.subject}"), time.monotonic()
    for number in range(1, compared.plan.looks[-1] + 1):
        if budget is not None and time.monotonic() - started > budget:
            break
        order = (0, 1) if coin.random() < 0.5 else (1, 0)
        played = {side: play(side) for side in order}
        pairs.first.append(played[0])
        pairs.second.append(played[1])
        pairs.elapsed.append(time.monotonic() - started)
        on_pair(pairs)
        if number in compared.plan.looks and not is_open(judge(pairs, compared, metrics)):
            break
    return judge(pairs, compared, metrics)


def judge(pairs: Pairs, compared: Compared, metrics: Sequence[Metric] = METRICS) -> list[Verdict]:
    return [not_slower(metric, compared, pairs.values(metric), pairs.elapsed) for metric in metrics]


def is_open(verdicts: Sequence[Verdict]) -> bool:
    return any(verdict.status == "cannot_tell" for verdict in verdicts)
