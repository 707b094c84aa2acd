from __future__ import annotations

from harness.checks.drill import planted_fault_caught
from harness.verdict import Status, Verdict

EXPECTED = {"span length": "row counts", "accuracy": "accuracy"}


def inner(rows: Status, accuracy: Status) -> list[Verdict]:
    return [Verdict("span length = rows", rows, "m", 1, "s"), Verdict("accuracy unchanged", accuracy, "m", 2, "s")]


def test_both_alarms_must_ring() -> None:
    assert planted_fault_caught("F1", inner("fail", "fail"), EXPECTED, source="s").status == "pass"
    missed = planted_fault_caught("F1", inner("fail", "pass"), EXPECTED, source="s")
    assert (missed.status, missed.message) == ("fail", "not caught by accuracy")
    assert planted_fault_caught("F1", inner("pass", "pass"), EXPECTED, source="s").status == "fail"


def test_an_alarm_that_could_not_ring_is_told() -> None:
    verdict = planted_fault_caught("F1", inner("fail", "not_exercised"), EXPECTED, source="s")
    assert verdict.status == "not_exercised"
    assert "accuracy unchanged was not exercised" in verdict.message
