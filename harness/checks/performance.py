"""Invariant 18: a setting is not slower than the other, as a ratio with an interval; three outcomes, never a guess, and
never an absolute time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from harness.stats import QUICK, Finding, Plan, judge_pairs
from harness.verdict import Status, Verdict

INVARIANT = 18
STATUSES: dict[str, Status] = {"regressed": "fail", "not_regressed": "pass", "inconclusive": "cannot_tell"}


@dataclass(frozen=True)
class Metric:
    """A figure of one round."""

    name: str
    unit: str
    higher_is_better: bool

    def limit(self, loss: float) -> float:
        """The worst ratio, candidate over baseline, that is no regression, where a share ``loss`` may be lost."""
        return 1 - loss if self.higher_is_better else 1 / (1 - loss)


THROUGHPUT = Metric("throughput", "output tokens/s", True)
TTFT = Metric("TTFT", "s", False)
ITL = Metric("ITL", "s", False)
CPU_TIME = Metric("CPU time", "ms/output token", False)
PEAK_MEMORY = Metric("peak memory", "MiB", False)
METRICS = (THROUGHPUT, TTFT, ITL, CPU_TIME, PEAK_MEMORY)


@dataclass(frozen=True)
class Compared:
    """What is compared: ``names`` of baseline and candidate, the share that may be lost, when to look."""

    subject: str
    names: tuple[str, str]
    source: str
    loss: float
    plan: Plan = QUICK


def not_slower(
    metric: Metric,
    compared: Compared,
    rounds: tuple[Sequence[float], Sequence[float]],
    elapsed: Sequence[float] = (),
) -> Verdict:
    """``rounds`` are the metric's values, paired in time; ``elapsed`` the seconds from the start to each pair's end."""
    first, second = compared.names
    check = f"{metric.name}, {compared.subject} {second} / {first}"
    limit = metric.limit(compared.loss)
    evidence: dict[str, Any] = {"metric": metric.name, "unit": metric.unit, "settings": list(compared.names)}
    evidence |= {"rounds": {first: list(rounds[0]), second: list(rounds[1])}, "plan": asdict(compared.plan)}
    evidence |= {"higher_is_better": metric.higher_is_better}
    plan = compared.plan
    found = judge_pairs(*rounds, limit, higher_is_better=metric.higher_is_better, plan=plan)
    if found is None:
        message = f"{len(rounds[0])} pairs of rounds have this figure; the first look needs {plan.looks[0]}"
        return Verdict(check, "not_exercised", message, INVARIANT, compared.source, None, limit, evidence)
    seconds = elapsed[found.pairs - 1] if elapsed else None
    evidence |= {"ratio": asdict(found.ratio), "outcome": found.outcome, "looks": found.looks}
    evidence |= {"seconds_to_verdict": seconds}
    message = reading(found, metric, limit, plan, seconds)
    status = STATUSES[found.outcome]
    return Verdict(check, status, message, INVARIANT, compared.source, found.ratio.value, limit, evidence)


def reading(found: Finding, metric: Metric, limit: float, plan: Plan, seconds: float | None) -> str:
    """The finding as one line: ratio, interval, limit, outcome, pairs, looks and time."""
    ratio = found.ratio
    side = "at least" if metric.higher_is_better else "at most"
    took = "" if seconds is None else f" in {seconds:.0f} s"
    return (
        f"{ratio.value:.3f} [{ratio.low:.3f}, {ratio.high:.3f}], {side} {limit:.3g} wanted: "
        f"{found.outcome.replace('_', ' ')} after {found.pairs} pairs{took}, look {found.looks} of {len(plan.looks)}; "
        f"wrong at most {plan.alpha:.1%} of the time"
    )
