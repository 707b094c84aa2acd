from __future__ import annotations

import math

from observations import answer, prompt, refused

from harness.checks.equality import equal_to_alone, same_tokens

NAMES = ("per_item", "cross_request")


def test_equal_tokens_pass() -> None:
    assert same_tokens(NAMES, [prompt()], ([answer()], [answer()]), source="s").status == "pass"


def test_one_other_token_or_a_refusal_fails() -> None:
    other = [answer(output_ids=(7, 1), text="71")]
    verdict = same_tokens(NAMES, [prompt()], ([answer()], other), source="s")
    assert verdict.status == "fail"
    assert verdict.evidence["wrong"][0]["position"] == 1
    assert same_tokens(NAMES, [prompt()], ([answer()], [refused()]), source="s").status == "fail"


def test_two_refusals_are_not_equal_answers() -> None:
    assert same_tokens(NAMES, [prompt()], ([refused()], [refused()]), source="s").status == "fail"


def test_equal_but_not_exercised_says_why() -> None:
    verdict = same_tokens(NAMES, [prompt()], ([answer()], [answer()]), source="s", exercised="no pass was shared")
    assert (verdict.status, verdict.message) == ("not_exercised", "no pass was shared")


def test_one_bit_of_one_log_probability_is_told() -> None:
    alone, crowd = (answer(logprobs=(-0.25, last)) for last in (-0.5, math.nextafter(-0.5, 0)))
    verdict = equal_to_alone([prompt()], [alone], [crowd], source="s")
    assert verdict.status == "fail"
    assert "p, token 1: alone 0 at -0x1.0000000000000p-1, in a crowd 0 at -0x1.fffffffffffffp-2" in verdict.message
    assert equal_to_alone([prompt()], [alone], [alone], source="s").status == "pass"


def test_a_refusal_in_a_crowd_is_not_equal_to_an_answer_alone() -> None:
    alone = answer(logprobs=(-0.25, -0.5))
    verdict = equal_to_alone([prompt()], [alone], [refused()], source="s")
    assert (verdict.status, verdict.message[-2:]) == ("fail", "no")


def test_a_missing_log_probability_is_a_difference() -> None:
    alone, crowd = answer(logprobs=(-0.25, -0.5)), answer(logprobs=(-0.25,))
    verdict = equal_to_alone([prompt()], [alone], [crowd], source="s")
    assert verdict.status == "fail"
    assert "in a crowd (end of 2 tokens, 1 log-probabilities)" in verdict.message


def test_a_crowd_of_one_is_not_exercised() -> None:
    same = [answer(logprobs=(-0.25, -0.5))]
    verdict = equal_to_alone([prompt()], same, same, source="s", exercised="nobody was there")
    assert (verdict.status, verdict.message) == ("not_exercised", "nobody was there")


def test_without_log_probabilities_nothing_is_compared() -> None:
    assert equal_to_alone([prompt()], [answer()], [answer()], source="s").status == "not_exercised"
