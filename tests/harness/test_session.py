"""Jobs one after the other: an engine that dies or hangs has failed one of them, and the others are run."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

import pytest
from standin_target import StandinTarget

from harness.checks.robustness import ALIVE
from harness.errors import JobError, TargetDied
from harness.jobs import JobContext
from harness.jobs.token_drift import TokenDrift
from harness.jobs.vit_batching import VitBatching
from harness.records import load_record
from harness.session import run_jobs
from harness.targets.divergences import Divergence
from harness.verdict import exit_code

MakeContext = Callable[..., JobContext]


@pytest.mark.parametrize(
    ("then", "told"),
    [("crash", "server on ended with exit code 1 while answering"), ("hang", "is running but did not answer while")],
)
def test_an_engine_that_dies_or_hangs_fails_its_job_and_the_next_one_is_run(
    make_context: MakeContext, then: str, told: str
) -> None:
    context = make_context({"on": ["--after", "3", "--then", then]}, samples=8, request_timeout=2.0)
    assert run_jobs(context, [TokenDrift(), VitBatching()]) is None
    first, *others = context.filed
    assert (first.job, first.verdict.check, first.verdict.status) == (TokenDrift.name, ALIVE, "fail")
    assert told in first.verdict.message
    assert {(filed.job, filed.verdict.status) for filed in others} == {(VitBatching.name, "pass")}
    assert exit_code(context.filed) == 1
    events = load_record(context.recorder.partial)["events"]
    assert [event["job"] for event in events if event["event"] == "job_end"] == [TokenDrift.name, VitBatching.name]
    assert sum(event["event"] == "answer" and event["job"] == TokenDrift.name for event in events) >= 8


def test_an_engine_that_never_becomes_ready_ends_the_run(make_context: MakeContext) -> None:
    context = make_context({"on": ["--dies-at-start"]}, samples=4)
    problem = run_jobs(context, [TokenDrift(), VitBatching()])
    assert problem is not None
    assert "cannot find its weights" in problem
    assert context.filed == []
    assert exit_code(context.filed, incomplete=True) == 2


def test_a_death_that_the_target_is_known_for_does_not_count(make_context: MakeContext) -> None:
    known = Divergence("stand-in", "*", TokenDrift.name, ALIVE, "as reported", "here#1", date.max)
    context = make_context({"on": ["--dies-after", "3"]}, samples=4, divergences=[known])
    assert run_jobs(context, [TokenDrift()]) is None
    [filed] = context.filed
    assert (filed.verdict.check, filed.known) == (ALIVE, known.words)


def test_the_death_of_what_a_target_is_held_against_is_not_the_targets(make_context: MakeContext) -> None:
    context = make_context()
    other = StandinTarget({"*": ["--dies-after", "1"]})
    with (
        pytest.raises(JobError, match="stand-in, not the target: server reference ended") as told,
        context.servers("job", {"reference": context.launch({})}, other) as servers,
    ):
        context.ask("job", servers["reference"], context.chat_prompts("p", 4), concurrency=1)
    assert not isinstance(told.value, TargetDied)
