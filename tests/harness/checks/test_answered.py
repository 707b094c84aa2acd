"""A workload's requests are well formed: whatever is no answer to one is red, a refusal too."""

from __future__ import annotations

import pytest
from observations import answer, refused

from harness.checks.answered import unanswered
from harness.observation import RowMismatch


@pytest.mark.parametrize("status", [200, 400, 401, 404, 429, 500])
def test_whatever_is_no_answer_is_red_and_every_request_of_it_named(status: int) -> None:
    verdict = unanswered("on", [answer("good"), *(refused(f"p{number}", status=status) for number in range(9))])
    assert verdict is not None
    assert (verdict.check, verdict.status) == ("every request answered (on)", "fail")
    assert verdict.message == f"9 of 10 were not: p0 got {status}, no"
    assert [one["request"] for one in verdict.evidence["wrong"]] == [f"p{number}" for number in range(9)]


def test_answers_and_rows_that_do_not_fill_spans_are_for_other_checks() -> None:
    mismatch = RowMismatch(0, ((2, 5),), 4, 3)
    assert unanswered("on", [answer(), refused(mismatch=mismatch)]) is None


def test_a_refusal_is_for_the_jobs_own_checks_where_requests_are_malformed_on_purpose() -> None:
    assert unanswered("on", [answer(), refused(status=422)], refusable=True) is None
    assert unanswered("on", [answer(), refused(status=500)], refusable=True) is not None
