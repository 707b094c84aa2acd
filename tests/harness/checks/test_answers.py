from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from observations import prompt

from harness.checks.answers import TIE, same_answers
from harness.observation import Observation
from harness.verdict import Verdict

ANSWER = Observation(
    "a", "one", 200, text="12", output_ids=(5, 6), logprobs=(-0.1, -0.2), finish="stop", prompt_tokens=9
)
REFUSED = Observation("a", "one", 400, error="no images here")


def judge(second: Observation, first: Observation = ANSWER, exercised: str | None = None) -> Verdict:
    asked = [prompt("a")]
    return same_answers(("one", "two"), asked, ([first], [second]), invariant=7, source="x", exercised=exercised)


def test_equal_answers_pass() -> None:
    assert judge(replace(ANSWER, setting="two")).status == "pass"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"output_ids": (5, 7), "logprobs": (-0.1, -0.9)}, "output ids 1: 6 at -0.200000 and 7 at -0.900000"),
        ({"output_ids": (5,), "logprobs": (-0.1,)}, "output ids 1: 6 at -0.200000 and (end after 1 tokens)"),
        ({"text": "1"}, "text: 12 and 1"),
        ({"finish": "length"}, "finish: stop and length"),
        ({"prompt_tokens": 8}, "prompt_tokens: 9 and 8"),
        ({"logprobs": (-0.1,)}, "log-probabilities: 2 and 1"),
        ({"error": "image_data: no"}, "answer: answered and image_data: no"),
        ({"others": (replace(ANSWER, text="21"),)}, "choice 1, text: 12 and 21"),
    ],
)
def test_any_field_that_differs_is_told(change: dict[str, Any], told: str) -> None:
    verdict = judge(replace(ANSWER, **change))
    assert verdict.status == "fail"
    assert told in verdict.message


def test_tokens_that_rounding_may_swap_cannot_be_told() -> None:
    swapped = replace(ANSWER, output_ids=(5, 7), logprobs=(-0.1, -0.2 + TIE / 2))
    assert judge(swapped).status == "cannot_tell"
    assert judge(replace(swapped, logprobs=(-0.1, -0.2 + 2 * TIE))).status == "fail"


def test_what_did_not_act_or_was_refused_twice_is_no_pass() -> None:
    assert judge(ANSWER, exercised="prefix_cache acted in no answer").status == "not_exercised"
    assert judge(REFUSED, REFUSED).status == "not_exercised"
    assert judge(replace(ANSWER, text="1"), exercised="prefix_cache acted in no answer").status == "fail"


def test_what_was_refused_both_times_is_told_and_not_counted_as_equal() -> None:
    asked, seen = [prompt(f"p{number}") for number in range(40)], [ANSWER, *[REFUSED] * 39]
    verdict = same_answers(("one", "two"), asked, (seen, seen), invariant=7, source="x")
    assert verdict.message == "1 of 1 answers equal; 39 more were refused both times: no images here"
    assert (verdict.figure, verdict.threshold, verdict.evidence["refused"]) == (1, 1, 39)
    failed = [ANSWER, *[replace(REFUSED, status=500)] * 39]
    assert same_answers(("one", "two"), asked, (seen, failed), invariant=7, source="x").status == "fail"
