"""The stand-in engine reads bodies without care: the job must say so, and survive what it does to it."""

from __future__ import annotations

from collections.abc import Callable

from harness.checks.robustness import REFUSED
from harness.jobs import JobContext
from harness.jobs.hostile import ALIVE, HostileInputs

MakeContext = Callable[..., JobContext]


def test_connections_that_break_off_turn_it_red(make_context: MakeContext) -> None:
    context = make_context(samples=3)
    HostileInputs().run(context)
    found = {filed.verdict.check: filed.verdict for filed in context.filed}
    assert found[REFUSED].status == "fail"
    silent = [wrong for wrong in found[REFUSED].evidence["wrong"] if wrong["a"] == 0]
    assert any(wrong["request"] == "input_ids left out" for wrong in silent)
    assert found["good ones meanwhile = before"].status == "pass"
    assert found["good ones afterwards = before"].status == "pass"


def test_a_server_that_dies_of_it_is_a_failure_and_no_broken_run(make_context: MakeContext) -> None:
    context = make_context({"*": ["--dies-after", "5"]}, samples=3)
    HostileInputs().run(context)
    [filed] = context.filed
    assert (filed.verdict.check, filed.verdict.status) == (ALIVE, "fail")
