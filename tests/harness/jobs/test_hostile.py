"""The stand-in engine reads bodies without care: the job must say so, and survive what it does to it."""

from __future__ import annotations

import time
from collections.abc import Callable

from harness.checks.robustness import ALIVE, REFUSED, Reply
from harness.jobs import JobContext
from harness.jobs.hostile import HostileInputs, send
from harness.session import run_jobs
from harness.workloads.hostile import Hostile

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
    assert run_jobs(context, [HostileInputs()]) is None
    [filed] = context.filed
    assert (filed.verdict.check, filed.verdict.status) == (ALIVE, "fail")


def test_an_answer_that_trickles_for_ever_is_given_up_when_a_request_must_be_done(make_context: MakeContext) -> None:
    context = make_context({"*": ["--then", "trickle"]}, request_timeout=1.0)
    with context.servers("hostile", {"server": context.launch({})}) as servers:
        began = time.monotonic()
        reply = send(servers["server"], Hostile("drips", "/generate", b"{}"))
        assert time.monotonic() - began < 10
    assert reply == Reply("drips", 0, "not done after 1 s; --request-timeout allows more")
