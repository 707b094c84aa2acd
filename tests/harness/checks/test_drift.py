from __future__ import annotations

from observations import JOINER, PAD, answer, prompt, refused

from harness.checks.drift import drift_is_exact, no_drift
from harness.checks.identity import Placeholders

PLACEHOLDERS = Placeholders(PAD, JOINER)


def test_off_passes_only_when_exactly_the_computed_number_is_lost() -> None:
    prompts = [prompt("a", drift=-2), prompt("b", drift=0)]
    right = [answer("a", prompt_tokens=7), answer("b")]
    verdict = drift_is_exact("off", prompts, right, PLACEHOLDERS)
    assert verdict.status == "pass"
    assert (verdict.figure, verdict.threshold) == (2, 2)
    too_many = [answer("a", prompt_tokens=6), answer("b")]
    assert drift_is_exact("off", prompts, too_many, PLACEHOLDERS).status == "fail"
    none = [answer("a"), answer("b")]
    assert drift_is_exact("off", prompts, none, PLACEHOLDERS).status == "fail"


def test_losses_that_cancel_in_the_sum_do_not_pass() -> None:
    prompts = [prompt("a", drift=-2), prompt("b", drift=-1)]
    swapped = [answer("a", prompt_tokens=8), answer("b", prompt_tokens=7)]
    verdict = drift_is_exact("off", prompts, swapped, PLACEHOLDERS)
    assert verdict.status == "fail"
    assert "a: -1 tokens, expected -2" in verdict.message


def test_on_must_lose_none() -> None:
    prompts = [prompt("a", drift=-2)]
    assert no_drift("on", prompts, [answer("a")], PLACEHOLDERS).status == "pass"
    assert no_drift("on", prompts, [answer("a", prompt_tokens=7)], PLACEHOLDERS).status == "fail"


def test_canonical_prompts_alone_exercise_nothing() -> None:
    assert no_drift("on", [prompt()], [answer()], PLACEHOLDERS).status == "not_exercised"


def test_failed_requests_alone_exercise_nothing() -> None:
    verdict = no_drift("on", [prompt(drift=-1)], [refused()], PLACEHOLDERS)
    assert verdict.status == "not_exercised"
    assert "no request was answered" in verdict.message


def test_where_spans_are_never_told_they_are_found_in_the_ids() -> None:
    untold = {"spans": "unsupported by x 1 (no)"}
    found = answer("a", items=(), lacks=untold)
    assert no_drift("on", [prompt("a", drift=-2)], [found], PLACEHOLDERS).status == "pass"
    lost = answer("a", items=(), lacks=untold, prompt_tokens=7)
    assert no_drift("on", [prompt("a", drift=-2)], [lost], PLACEHOLDERS).status == "fail"
    neither = answer("a", items=(), lacks=untold, prompt_ids=None)
    verdict = no_drift("on", [prompt("a", drift=-2)], [neither], PLACEHOLDERS)
    assert (verdict.status, verdict.message) == ("not_exercised", "unsupported by x 1 (no)")
