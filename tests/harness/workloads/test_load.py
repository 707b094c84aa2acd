from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from standin_workload import plain_questions

from harness.errors import JobError, TargetDied
from harness.jobs import JobContext
from harness.observation import Prompt
from harness.workloads.chat import chat_prompt
from harness.workloads.load import Round, Timing, run_round

MakeContext = Callable[..., JobContext]


def prompts_for(context: JobContext) -> list[Prompt]:
    return [
        replace(chat_prompt(context.vocabulary, f"p{n}", question), max_new_tokens=5, ignore_eos=True)
        for n, question in enumerate(plain_questions(6, 0))
    ]


def test_a_round_counts_tokens_and_times_the_first(make_context: MakeContext) -> None:
    context = make_context({"*": ["--delay", "0.1"]})
    prompts = prompts_for(context)
    with context.servers("job", {"one": context.launch({"vit_batching": "per_item"})}) as servers:
        done = run_round(servers["one"], prompts, concurrency=3)
    assert sorted(timing.request for timing in done.timings) == [prompt.name for prompt in prompts]
    assert all(timing.completion_tokens == 5 for timing in done.timings)
    assert all(0.1 <= timing.ttft <= timing.seconds for timing in done.timings)
    assert done.prompt_tokens > sum(len(prompt.ids) - len(prompt.pictures) for prompt in prompts)
    assert 0.2 <= done.seconds < 2
    assert done.throughput == pytest.approx(30 / done.seconds)


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


def test_the_median_is_of_first_tokens() -> None:
    timings = tuple(Timing(str(n), ttft, 1.0, 10, 4) for n, ttft in enumerate([0.1, 0.3, 0.2]))
    done = Round("on", 2.0, timings)
    assert (done.median_ttft, done.throughput, done.prompt_tokens) == (0.2, 6.0, 30)
