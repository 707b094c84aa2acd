"""Invariant 18: a setting is not slower than the other, as a ratio with an interval; three outcomes, never a guess."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from harness.stats import judge_ratio, paired_ratio
from harness.verdict import Status, Verdict

INVARIANT = 18
LEAST_ROUNDS = 4


@dataclass(frozen=True)
class Metric:
    """A figure of one round. ``limit`` is the worst ratio, second setting over first, that is no regression."""

    name: Literal["throughput", "TTFT"]
    unit: str
    higher_is_better: bool
    limit: float


THROUGHPUT = Metric("throughput", "tokens/s", True, 0.8)
TTFT = Metric("TTFT", "s", False, 1.25)


def not_slower(
    metric: Metric,
    subject: str,
    names: tuple[str, str],
    rounds: tuple[Sequence[float], Sequence[float]],
    *,
    source: str,
    confidence: float = 0.95,
) -> Verdict:
    """``rounds`` are the metric's values by round, the rounds of ``subject``'s two settings paired in time."""
    check = f"{metric.name}, {subject} {names[1]} / {names[0]}"
    first, second = rounds
    evidence: dict[str, Any] = {"metric": metric.name, "unit": metric.unit, "settings": list(names)}
    evidence |= {"rounds": {names[0]: list(first), names[1]: list(second)}, "higher_is_better": metric.higher_is_better}
    if min(len(first), len(second)) < LEAST_ROUNDS:
        message = f"{len(first)} and {len(second)} rounds; at least {LEAST_ROUNDS} each are needed"
        return Verdict(check, "not_exercised", message, INVARIANT, source, evidence=evidence, threshold=metric.limit)
    ratio = paired_ratio(first, second, confidence=confidence)
    statuses: dict[str, Status] = {"regressed": "fail", "not_regressed": "pass", "inconclusive": "cannot_tell"}
    outcome = judge_ratio(ratio, metric.limit, higher_is_better=metric.higher_is_better)
    side = "at least" if metric.higher_is_better else "at most"
    message = (
        f"{ratio.value:.2f} [{ratio.low:.2f}, {ratio.high:.2f}] at {confidence:.1%}, {ratio.rounds} paired rounds; "
        f"{side} {metric.limit:g} wanted: {outcome.replace('_', ' ')}"
    )
    evidence |= {"ratio": asdict(ratio), "outcome": outcome}
    return Verdict(check, statuses[outcome], message, INVARIANT, source, ratio.value, metric.limit, evidence)
