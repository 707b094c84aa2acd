"""Models whose layers carry a state: preempted requests start again from nothing, and no prefix is shared."""

from __future__ import annotations

from typing import Any

import pytest

from reference_engine import Engine, EngineConfig
from reference_engine.errors import ConfigError

NAME = "random-minicpm-v"


def assert_says(answer: Any, right: Any) -> None:
    assert answer.output_ids == right.ids
    assert answer.logprobs == pytest.approx(right.logprobs, abs=3e-4)


@pytest.mark.parametrize("family", [NAME], indirect=True)
def test_a_preempted_request_says_the_same(family: Any) -> None:
    cases = family.cases(3)
    engine = family.engine(chunked_prefill=16)
    for i, (case, _) in enumerate(cases):
        engine.submit(case.request(str(i), want_evidence=True, want_logprobs=True))
    answers, steps = {}, 0
    while engine.has_work():
        answers |= {out.request_id: out.answer for out in engine.step() if out.answer is not None}
        steps += 1
        if steps in (2, 5):
            engine.preempt("1")
    for i, (_, right) in enumerate(cases):
        assert_says(answers[str(i)], right)


@pytest.mark.parametrize("family", [NAME], indirect=True)
def test_no_prefix_is_shared(family: Any) -> None:
    case, right = family.cases(1)[0]
    engine = family.engine(prefix_cache=True)
    first, second = (engine.generate([case.request(name, want_evidence=True, want_logprobs=True)])[0] for name in "ab")
    assert_says(first, right)
    assert_says(second, right)
    told = second.evidence.toggles["prefix_cache"]
    assert (told["acted"], told["reason"]) == (False, "prompts share nothing with a model whose layers carry a state")


@pytest.mark.usefixtures("_cache")
@pytest.mark.parametrize(
    "setting", [{"batch_invariant": True}, {"cuda_graph": True}, {"compile": True}, {"tensor_parallel": 2}]
)
def test_settings_that_do_not_fit_are_refused(setting: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(setting))):
        Engine(EngineConfig(model=NAME, **setting))
