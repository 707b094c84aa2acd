"""Encoder passes that end later: nobody else waits for them, and answers do not change.

``Later`` is a stream whose passes end when the test says so; on a GPU, an event says so.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from reference_engine import Engine
from reference_engine.encoder_stream import AtOnce, Encoded, choose_encoder_stream


class Later:
    """Passes end after ``steps`` looks at them, and are run only then. A result that is asked for earlier counts as
    waited for."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.started = self.waited = 0

    def start(self, encode: Callable[[], Encoded]) -> LaterPass:
        self.started += 1
        return LaterPass(self, encode, self.steps)


class LaterPass:
    def __init__(self, stream: Later, encode: Callable[[], Encoded], steps: int) -> None:
        self.stream, self.encode, self.left = stream, encode, steps

    def ready(self) -> bool:
        self.left -= 1
        return self.left < 0

    def result(self) -> Encoded:
        self.stream.waited += self.left >= 0
        return self.encode()


@pytest.fixture
def later(lively: Any) -> Any:
    """Makes an engine with passes of so many steps; they end at once again when the test is over."""
    engine: Engine = lively.engine(check_every_step=True)

    def make(steps: int) -> tuple[Engine, Later]:
        engine.flush_cache()
        engine.passes.stream = Later(steps)
        return engine, engine.passes.stream

    yield make
    engine.passes.stream = AtOnce()


def text_and_images(make_case: Any, picture: Any) -> tuple[Any, Any]:
    text = make_case("Describe the digit", [], new_tokens=6, ignore_eos=True)
    images = make_case("<|image_pad|>row 1", [picture((56, 84), 1)], new_tokens=3, ignore_eos=True)
    return text, images


def test_a_request_without_images_does_not_wait(later: Any, make_case: Any, picture: Any) -> None:
    engine, stream = later(4)
    text, images = text_and_images(make_case, picture)
    for name, case in (("images", images), ("text", text)):
        engine.submit(case.request(name, want_evidence=True))
    firsts = [output.request_id for _ in range(4) for output in engine.step()]
    assert firsts == ["text"] * 4, "it came second, and had a token of every step"
    rest = [output for _ in range(5) for output in engine.step()]
    answers = {o.request_id: o.answer for o in rest if o.answer is not None}
    assert (stream.started, stream.waited) == (1, 0)
    assert answers["images"].evidence.toggles["encoder_overlap"]["acted"]
    assert not answers["text"].evidence.toggles["encoder_overlap"]["acted"]


def test_requests_do_not_wait_for_each_others_images(later: Any, make_case: Any, picture: Any) -> None:
    engine, stream = later(3)
    one, other = (make_case("<|image_pad|>row 1", [picture((56, 84), seed)], 3, True) for seed in (1, 2))
    engine.submit(one.request("first"))
    engine.submit(make_case("Describe", [], 9, True).request("text"))
    engine.step()
    engine.submit(other.request("second"))
    order = [output.request_id for _ in range(4) for output in engine.step()]
    assert [name for name in order if name != "text"][:1] == ["first"]
    assert (stream.started, stream.waited) == (2, 0)
    while engine.has_work():
        engine.step()


@pytest.mark.parametrize("steps", [0, 1, 5, 1000])
def test_answers_are_those_of_passes_that_end_at_once(later: Any, lively: Any, make_cases: Any, steps: int) -> None:
    """With nobody else to run, a step waits for the pass that was started first."""
    cases = make_cases(6, seed=8, max_images=2)
    engine, _ = later(steps)
    answers = engine.generate([case.request(str(i)) for i, case in enumerate(cases)])
    assert [a.output_ids for a in answers] == [lively.oracle.generate(case).ids for case in cases]


def test_rows_of_an_aborted_request_are_nobodys(later: Any, lively: Any, make_case: Any, picture: Any) -> None:
    """Its id is taken by another request with other images of the same size while the pass is under way."""
    engine, _ = later(3)
    old, new = (make_case("<|image_pad|>row 1", [picture((56, 84), seed)], 4, True) for seed in (1, 2))
    engine.submit(old.request("same"))
    engine.step()
    engine.abort("same")
    engine.step()
    engine.submit(new.request("same"))
    answers = [output.answer for _ in range(12) for output in engine.step() if output.answer is not None]
    assert [a.output_ids for a in answers] == [lively.oracle.generate(new).ids]


def test_a_preempted_request_gets_rows_again(later: Any, lively: Any, make_case: Any, picture: Any) -> None:
    engine, _ = later(2)
    _, images = text_and_images(make_case, picture)
    engine.submit(images.request("a"))
    engine.submit(make_case("Describe", [], 12, True).request("b"))
    engine.step()
    engine.preempt("a")
    answers = [output.answer for _ in range(30) for output in engine.step() if output.answer is not None]
    [got] = [a for a in answers if a.request_id == "a"]
    assert got.output_ids == lively.oracle.generate(images).ids


def test_a_cpu_encodes_at_once() -> None:
    assert isinstance(choose_encoder_stream("cpu", overlap=True), AtOnce)
    assert isinstance(choose_encoder_stream("cuda", overlap=False), AtOnce)
