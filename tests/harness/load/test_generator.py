"""The generator against a server that does nothing, slowly or at once: what is counted, from when, and what fails."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from harness.load.generator import run_load
from harness.load.overhead import bottlenecks, null_server, top_rate
from harness.load.timing import Load, Objective, Timing
from harness.observation import Prompt
from harness.targets.reference import ReferenceTarget

TOKENS, TOKEN_SECONDS = 3, 0.03
ANSWER_SECONDS = TOKENS * TOKEN_SECONDS


@pytest.fixture(scope="module")
def slow() -> Iterator[str]:
    with null_server(TOKEN_SECONDS) as url:
        yield url


def prompts(count: int) -> list[Prompt]:
    return [Prompt(f"p{n}", (1, 2, 3), (), "", "", max_new_tokens=TOKENS) for n in range(count)]


def sessions(count: int) -> list[list[Prompt]]:
    return [[prompt] for prompt in prompts(count)]


def test_every_request_is_timed_and_counted(slow: str) -> None:
    load = run_load(slow, ReferenceTarget(), sessions(6), concurrency=2)
    assert sorted(timing.request for timing in load.timings) == [f"p{n}" for n in range(6)]
    for timing in load.timings:
        assert (timing.prompt_tokens, timing.completion_tokens, len(timing.gaps)) == (3, TOKENS, TOKENS - 1)
        assert timing.ttft is not None
        assert timing.ttft >= TOKEN_SECONDS
        assert timing.seconds >= ANSWER_SECONDS
        assert min(timing.gaps) > 0
    assert load.seconds >= 3 * ANSWER_SECONDS
    assert load.throughput == pytest.approx(6 * TOKENS / load.seconds)


def test_latencies_count_from_when_a_request_was_meant_to_go(slow: str) -> None:
    """One connection, four requests meant for second 0: the last one waits for three answers, and that is its TTFT."""
    load = run_load(slow, ReferenceTarget(), sessions(4), times=[0.0] * 4, concurrency=1)
    waits = sorted(timing.queued for timing in load.timings)
    assert all(wait >= number * ANSWER_SECONDS for number, wait in enumerate(waits))
    last = max(load.timings, key=lambda timing: timing.sent)
    assert last.ttft is not None
    assert last.ttft >= 3 * ANSWER_SECONDS + TOKEN_SECONDS
    assert load.seconds >= 4 * ANSWER_SECONDS


def test_a_slow_server_does_not_slow_an_open_loop(slow: str) -> None:
    times = [0.02 * number for number in range(8)]
    load = run_load(slow, ReferenceTarget(), sessions(8), times=times)
    sent = [timing.intended - load.timings[0].intended for timing in load.timings]
    assert sent == pytest.approx(times)
    assert all(timing.sent >= timing.intended for timing in load.timings)
    assert load.timings[-1].sent < load.timings[0].intended + 8 * ANSWER_SECONDS


def test_a_later_turn_is_meant_for_when_the_one_before_has_ended(slow: str) -> None:
    load = run_load(slow, ReferenceTarget(), [prompts(3)], times=[0.0])
    first, second, third = load.timings
    assert (second.intended, third.intended) == (first.ended, second.ended)


def test_warm_up_is_sent_and_in_no_figure(slow: str) -> None:
    load = run_load(slow, ReferenceTarget(), sessions(4), times=[0.0, 0.01, 0.2, 0.21], warmup=0.1)
    assert [timing.warm for timing in load.timings] == [True, True, False, False]
    assert len(load.timings) == 4
    assert load.output_tokens == 2 * TOKENS
    assert load.seconds < load.timings[-1].ended - load.timings[0].intended


def test_what_fails_is_counted(slow: str) -> None:
    bad = replace(prompts(1)[0], name="bad", max_new_tokens=0)
    load = run_load(slow, ReferenceTarget(), [[bad], *sessions(1)], concurrency=1)
    assert [timing.error for timing in load.timings] == ["the stream held no token", None]
    assert load.goodput(Objective())[1] == 0.5
    gone = run_load("http://127.0.0.1:9", ReferenceTarget(), sessions(2), concurrency=1)
    assert len(gone.errors) == 2
    assert "ClientConnectorError" in (gone.errors[0].error or "")
    assert gone.goodput(Objective()) == (0.0, 0.0)
    late = run_load(slow, ReferenceTarget(), sessions(1), concurrency=1, timeout=TOKEN_SECONDS)
    assert late.errors[0].error == "no whole answer within 0.03 s"


def test_the_generator_tells_its_own_top_rate() -> None:
    top = top_rate(ReferenceTarget(), prompts(16), seconds=0.2)
    assert top["requests"] > 10
    assert top["output_tokens"] == pytest.approx(TOKENS * top["requests"])
    assert top["cpu_ms_a_request"] > 0


def made(**own: float) -> Load:
    timings = tuple(Timing(f"p{n}", n / 10, n / 10, n / 10 + 0.1, n / 10 + 0.2, (), 3, 3) for n in range(20))
    return Load(timings, {"cpu_share": 0.1, "late_p99": 0.001} | own)


def test_a_generator_that_kept_up_has_no_bottleneck_and_others_say_which() -> None:
    assert bottlenecks(made(), {"requests": 100.0}) == []
    assert "used 95% of a processor" in bottlenecks(made(cpu_share=0.95))[0]
    assert "its clock was up to 20.0 ms late" in bottlenecks(made(late_p99=0.02))[0]
    assert "more than half of what it can send (12)" in bottlenecks(made(), {"requests": 12.0})[0]
