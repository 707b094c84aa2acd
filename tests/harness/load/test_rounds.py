"""Rounds on a launched stand-in: figures of the target's processes, and failures that end the job."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from standin_workload import plain_questions

from harness.errors import JobError, TargetDied
from harness.jobs import JobContext
from harness.load.rounds import run_round
from harness.observation import Prompt
from harness.workloads.chat import chat_prompt

MakeContext = Callable[..., JobContext]


def prompts_for(context: JobContext) -> list[Prompt]:
    return [
        replace(chat_prompt(context.vocabulary, f"p{n}", question), max_new_tokens=5, ignore_eos=True)
        for n, question in enumerate(plain_questions(6, 0))
    ]


def test_a_round_has_every_figure_of_a_local_target(make_context: MakeContext) -> None:
    context = make_context({"*": ["--delay", "0.1"]})
    prompts = prompts_for(context)
    with context.servers("job", {"one": context.launch({"vit_batching": "per_item"})}) as servers:
        done = run_round(servers["one"], prompts, concurrency=3)
    assert sorted(timing.request for timing in done.load.timings) == [prompt.name for prompt in prompts]
    assert all(timing.completion_tokens == 5 for timing in done.load.timings)
    figures = done.figures()
    assert set(figures) == {"throughput", "TTFT", "ITL", "CPU time", "peak memory"}
    assert figures["TTFT"] >= 0.1
    assert figures["peak memory"] > 10
    assert done.cpu_seconds is not None
    assert done.cpu_seconds > 0
    assert figures["CPU time"] == pytest.approx(1000 * done.cpu_seconds / 30)


def test_a_refused_request_ends_the_round(make_context: MakeContext) -> None:
    context = make_context({"*": ["--plant", "F1-01", "--slice-rows", "1"]})
    with (
        context.servers("job", {"one": context.launch({"vit_batching": "cross_request"})}) as servers,
        pytest.raises(JobError, match="one refused p"),
    ):
        run_round(servers["one"], prompts_for(context), concurrency=6)


def test_a_death_in_a_round_is_told(make_context: MakeContext) -> None:
    context = make_context({"*": ["--dies-after", "2"]})
    with (
        context.servers("job", {"one": context.launch({"vit_batching": "per_item"})}) as servers,
        pytest.raises(TargetDied, match="while streaming request"),
    ):
        run_round(servers["one"], prompts_for(context), concurrency=1)
