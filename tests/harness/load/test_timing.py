from __future__ import annotations

import pytest

from harness.load.client import Stream, brings_tokens
from harness.load.counting import Counted, Counts
from harness.load.timing import Load, Objective, Spread, Timing
from harness.targets.base import StreamEvent


def timing(name: str, intended: float, **more: object) -> Timing:
    fields = {"sent": intended, "first": intended + 0.2, "ended": intended + 1.0, "gaps": (0.1, 0.7)} | more
    return Timing(name, intended, prompt_tokens=10, completion_tokens=fields.pop("tokens", 3), **fields)  # type: ignore[arg-type]


def test_figures_are_of_the_counted_and_answered() -> None:
    failed = timing("bad", 1.0, error="HTTP 500", tokens=None)
    load = Load((timing("warm", 0.0, warm=True), timing("a", 1.0), timing("b", 2.0), failed))
    assert load.seconds == 2.0
    assert (load.output_tokens, load.throughput, load.prompt_tokens) == (6, 3.0, 20)
    assert [t.request for t in load.errors] == ["bad"]
    assert (load.median_ttft, load.median_itl) == (pytest.approx(0.2), pytest.approx(0.4))
    assert load.counted[0].tpot == pytest.approx(0.4)
    assert load.rates()["requests"] == 1.0


def test_goodput_holds_every_limit_and_counts_failures() -> None:
    load = Load((timing("a", 0.0), timing("b", 1.0, gaps=(0.1, 0.1)), timing("c", 1.0, error="HTTP 500")))
    assert load.goodput(Objective(ttft=0.5)) == (1.0, pytest.approx(2 / 3))
    assert load.goodput(Objective(ttft=0.5, itl=0.5))[1] == pytest.approx(1 / 3)
    assert load.goodput(Objective(ttft=0.1))[1] == 0.0
    assert load.goodput(Objective(e2e=1.0, tpot=0.5))[1] == pytest.approx(2 / 3)


def test_prompt_tokens_are_counted_by_our_prediction_where_there_is_one() -> None:
    load = Load((timing("a", 0.0), timing("b", 0.0)))
    counted = Counts({"a": Counted(70, 60)}).put_in(load)
    assert counted.prompt_tokens == 70 + 10
    assert counted.image_tokens == 60
    assert counted.rates()["total tokens"] == 80 + 6


def test_events_without_counts_bring_tokens_by_their_text() -> None:
    none = StreamEvent(None, None)
    role, word = {"choices": [{"delta": {"role": "assistant"}}]}, {"choices": [{"delta": {"content": "x"}}]}
    usage: dict[str, object] = {"choices": [], "usage": {"completion_tokens": 1}}
    assert [brings_tokens(event, none, 0) for event in (role, word, usage)] == [False, True, False]
    counts = [brings_tokens({"text": "x"}, StreamEvent(count), 2) for count in (2, 3)]
    assert counts == [False, True]
    stream = Stream()
    for now, count in ((1.0, 1), (2.0, 1), (3.0, 4)):
        stream.take(now, {"text": ""}, StreamEvent(count, 7))
    assert (stream.arrivals, stream.completion_tokens, stream.prompt_tokens) == ([1.0, 3.0], 4, 7)


def test_a_spread_of_nothing_is_none() -> None:
    assert Spread.of([]) is None
    spread = Spread.of([1.0, 2.0, 3.0])
    assert spread is not None
    assert (spread.mean, spread.percentiles[50], spread.worst) == (2.0, 2.0, 3.0)
