from __future__ import annotations

from observations import answer, prompt, refused

from harness.checks.equality import same_tokens

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
