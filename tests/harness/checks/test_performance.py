from __future__ import annotations

from harness.checks.performance import PEAK_MEMORY, THROUGHPUT, TTFT, Compared, not_slower
from harness.stats import Plan

COMPARED = Compared("toggle", ("off", "on"), "sglang#26555", loss=0.2)
STEADY = [100.0, 101.0, 99.0, 100.0, 102.0, 98.0, 100.0, 101.0, 99.5, 100.5]
NOISY = [100.0, 40.0, 180.0, 60.0, 150.0, 75.0, 90.0, 130.0, 55.0, 170.0]


def times(factor: float) -> list[float]:
    return [factor * value for value in STEADY]


def test_a_rate_that_halves_fails_and_one_that_doubles_passes() -> None:
    assert not_slower(THROUGHPUT, COMPARED, (STEADY, times(0.5))).status == "fail"
    assert not_slower(THROUGHPUT, COMPARED, (STEADY, times(2.0))).status == "pass"


def test_a_time_that_doubles_fails_and_one_that_halves_passes() -> None:
    assert not_slower(TTFT, COMPARED, (STEADY, times(2.0))).status == "fail"
    assert not_slower(TTFT, COMPARED, (STEADY, times(0.5))).status == "pass"
    assert not_slower(PEAK_MEMORY, COMPARED, (STEADY, times(1.3))).status == "fail"


def test_noise_cannot_tell() -> None:
    verdict = not_slower(THROUGHPUT, COMPARED, (NOISY, list(reversed(NOISY))))
    assert verdict.status == "cannot_tell"
    assert verdict.evidence["outcome"] == "inconclusive"


def test_too_few_rounds_exercise_nothing() -> None:
    verdict = not_slower(THROUGHPUT, COMPARED, (STEADY[:9], STEADY[:9]))
    assert (verdict.status, verdict.figure) == ("not_exercised", None)
    assert verdict.message == "9 pairs of rounds have this figure; the first look needs 10"


def test_a_verdict_tells_ratio_interval_looks_and_time() -> None:
    plan = Plan((5, 10), alpha=0.1)
    slow = [*NOISY[:5], *times(0.9)[:5]]
    compared = Compared("toggle", ("off", "on"), "sglang#26555", loss=0.01, plan=plan)
    verdict = not_slower(THROUGHPUT, compared, (STEADY, slow), elapsed=[2.0 * pair for pair in range(1, 11)])
    assert verdict.evidence["looks"] == 2
    assert verdict.evidence["seconds_to_verdict"] == 20.0
    assert "after 10 pairs in 20 s, look 2 of 2; wrong at most 10.0% of the time" in verdict.message
    early = not_slower(THROUGHPUT, compared, (STEADY, [*times(0.5)[:5], *NOISY[:5]]), elapsed=[1.0] * 10)
    assert (early.status, early.evidence["looks"], early.evidence["ratio"]["rounds"]) == ("fail", 1, 5)
