from __future__ import annotations

import pytest

from harness.checks.robustness import Reply, answered_or_refused, refusals_in_words

GOOD = [Reply("a", 200, "{}", is_json=True), Reply("b", 422, '{"error": "b"}', is_json=True)]


def test_answers_and_refusals_in_words_pass() -> None:
    assert answered_or_refused(GOOD).status == "pass"
    assert refusals_in_words(GOOD).status == "pass"


@pytest.mark.parametrize("reply", [Reply("c", 500, "oops", is_json=True), Reply("c", 0, "ReadTimeout: ")])
def test_errors_of_the_server_and_silence_fail(reply: Reply) -> None:
    verdict = answered_or_refused([*GOOD, reply])
    assert verdict.status == "fail"
    assert "1 of 3 wrong; c: " in verdict.message


def test_a_refusal_that_no_program_can_read_fails() -> None:
    assert refusals_in_words([*GOOD, Reply("c", 400, "<html>")]).status == "fail"
    assert refusals_in_words([*GOOD, Reply("c", 400, "", is_json=True)]).status == "fail"


def test_nothing_sent_is_not_exercised() -> None:
    assert answered_or_refused([]).status == "not_exercised"
    assert refusals_in_words(GOOD[:1]).status == "not_exercised"
