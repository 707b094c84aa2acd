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


def test_too_few_requests_to_tell_is_no_miss_where_another_alarm_rang() -> None:
    verdict = planted_fault_caught("F1", inner("fail", "cannot_tell"), EXPECTED, source="s")
    assert verdict.status == "not_exercised"
    assert verdict.message == "caught by row counts; accuracy unchanged cannot tell: m"


def test_no_alarm_at_all_is_never_excused_by_one_that_is_unsure() -> None:
    def status(rows: Status, accuracy: Status) -> Status:
        return planted_fault_caught("F1", inner(rows, accuracy), EXPECTED, source="s").status

    assert (status("pass", "cannot_tell"), status("pass", "not_exercised")) == ("fail", "fail")
    assert (status("cannot_tell", "not_exercised"), status("cannot_tell", "cannot_tell")) == ("cannot_tell",) * 2
    assert status("not_exercised", "not_exercised") == "not_exercised"


def test_a_fault_that_could_not_act_is_not_missed() -> None:
    def verdict(rows: Status) -> Verdict:
        judged = inner(rows, "pass")
        return planted_fault_caught("F1", judged, EXPECTED, source="s", exercised="no picture has several spans")

    assert (verdict("pass").status, verdict("pass").message) == ("not_exercised", "no picture has several spans")
    assert verdict("fail").status == "fail"
