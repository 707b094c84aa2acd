from __future__ import annotations

import pytest

from harness.verdict import Filed, Status, Verdict, exit_code


def filed(status: Status, *, drill: bool = False) -> Filed:
    return Filed("job", Verdict("check", status, "message", 1, "source"), drill)


@pytest.mark.parametrize(
    ("statuses", "code"),
    [
        (["pass", "pass"], 0),
        (["pass", "not_exercised"], 0),
        (["pass", "fail", "cannot_tell"], 1),
        (["not_exercised"], 2),
        ([], 2),
        (["pass", "cannot_tell"], 3),
    ],
)
def test_exit_code(statuses: list[Status], code: int) -> None:
    assert exit_code(map(filed, statuses)) == code


def test_a_run_that_broke_off_is_not_done_unless_a_check_failed() -> None:
    assert exit_code([filed("pass")], incomplete=True) == 2
    assert exit_code([filed("fail")], incomplete=True) == 1


def test_a_drills_inner_verdicts_do_not_count() -> None:
    assert exit_code([filed("pass"), filed("fail", drill=True)]) == 0
    assert exit_code([filed("fail", drill=True)]) == 2
