from __future__ import annotations

from harness.checks.performance import THROUGHPUT, TTFT, not_slower

NAMES = ("off", "on")
STEADY = [100.0, 101.0, 99.0, 100.0, 102.0, 98.0, 100.0, 101.0]
NOISY = [100.0, 40.0, 180.0, 60.0, 150.0, 75.0, 90.0, 130.0]


def times(factor: float) -> list[float]:
    return [factor * value for value in STEADY]


def test_a_rate_that_halves_fails_and_one_that_doubles_passes() -> None:
    assert not_slower(THROUGHPUT, "toggle", NAMES, (STEADY, times(0.5)), source="s").status == "fail"
    assert not_slower(THROUGHPUT, "toggle", NAMES, (STEADY, times(2.0)), source="s").status == "pass"


def test_a_time_that_doubles_fails_and_one_that_halves_passes() -> None:
    assert not_slower(TTFT, "toggle", NAMES, (STEADY, times(2.0)), source="s").status == "fail"
    assert not_slower(TTFT, "toggle", NAMES, (STEADY, times(0.5)), source="s").status == "pass"


def test_noise_cannot_tell() -> None:
    verdict = not_slower(THROUGHPUT, "toggle", NAMES, (NOISY, list(reversed(NOISY))), source="s")
    assert verdict.status == "cannot_tell"
    assert verdict.evidence["outcome"] == "inconclusive"


def test_too_few_rounds_exercise_nothing() -> None:
    assert not_slower(THROUGHPUT, "toggle", NAMES, (STEADY[:3], STEADY[:3]), source="s").status == "not_exercised"
