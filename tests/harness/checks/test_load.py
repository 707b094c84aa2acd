from __future__ import annotations

from dataclasses import replace

import pytest

from harness.checks.load import all_answered, generator_kept_up, objective_met, usage_as_predicted
from harness.load.timing import Load, Objective, Timing

OWN = {"cpu_share": 0.1, "cpu_ms_a_request": 0.5, "late_p99": 0.001}
GOOD = Timing("p", 1.0, 1.0, 1.2, 2.0, (0.1, 0.7), 70, 3, predicted_tokens=70, image_tokens=60)


def load(*timings: Timing) -> Load:
    return Load(timings, OWN)


def test_one_failure_is_told_with_its_error() -> None:
    assert all_answered(load(GOOD, GOOD)).status == "pass"
    verdict = all_answered(load(GOOD, replace(GOOD, request="q", error="Refused: HTTP 500: boom")))
    assert (verdict.status, verdict.message) == ("fail", "1 of 2 failed; the first: Refused: HTTP 500: boom")
    assert all_answered(load(replace(GOOD, warm=True))).status == "not_exercised"


def test_everything_that_is_wrong_is_named() -> None:
    """A known divergence excuses requests by name: one that the evidence left out would be excused unseen."""
    names = [f"p{number}" for number in range(9)]
    failed = all_answered(load(*(replace(GOOD, request=name, error="gone") for name in names)))
    counted = usage_as_predicted(load(*(replace(GOOD, request=name, prompt_tokens=1) for name in names)), "")
    for verdict in (failed, counted):
        assert [one["request"] for one in verdict.evidence["wrong"]] == names


def test_a_generator_at_its_limits_leaves_nothing_told() -> None:
    assert generator_kept_up(load(GOOD), []).status == "pass"
    assert generator_kept_up(load(GOOD), ["it was late"]).status == "cannot_tell"
    assert objective_met(load(*[GOOD] * 100), Objective(ttft=1.0), 0.5, ["it was late"]).status == "cannot_tell"


@pytest.mark.parametrize(("usage", "status", "ratio"), [(70, "pass", 1.0), (140, "fail", 2.0), (10, "fail", 1 / 7)])
def test_usage_that_is_not_ours_is_told_with_its_ratio(usage: int, status: str, ratio: float) -> None:
    verdict = usage_as_predicted(load(replace(GOOD, prompt_tokens=usage)), "")
    assert (verdict.status, verdict.figure) == (status, pytest.approx(ratio))
    if status == "fail":
        assert f"1 differ, {ratio:.2f} times ours in all; throughput here counts ours" in verdict.message
        assert verdict.evidence["wrong"] == [{"request": "p", "server": usage, "ours": 70}]


def test_usage_without_a_prediction_or_an_answer_is_not_exercised() -> None:
    unknown = replace(GOOD, predicted_tokens=None)
    assert usage_as_predicted(load(unknown), "no prediction for x").message == "no prediction for x"
    silent = replace(GOOD, prompt_tokens=None)
    assert usage_as_predicted(load(silent), "").message == "the server told no usage"
    assert usage_as_predicted(load(replace(GOOD, error="gone")), "").message == "no request was answered"


@pytest.mark.parametrize(("met", "status"), [(100, "pass"), (60, "fail"), (90, "cannot_tell")])
def test_a_share_is_judged_by_its_interval(met: int, status: str) -> None:
    slow = replace(GOOD, first=1.9)
    verdict = objective_met(load(*[GOOD] * met, *[slow] * (100 - met)), Objective(ttft=0.5), 0.9, [])
    assert verdict.status == status
    assert verdict.check == "goodput within ttft 500 ms"
    assert verdict.message.startswith(f"{met} of 100 requests")
