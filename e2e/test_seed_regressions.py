"""The two seed regressions on launched servers: seen where they are, gone where they are not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from harness.jobs.performance import Performance
from harness.records import load_record
from harness.session import Outcome
from harness.stats import Plan
from harness.verdict import Verdict

pytestmark = pytest.mark.e2e
Run = Callable[..., Outcome]


def by_check(outcome: Outcome) -> dict[str, Verdict]:
    return {filed.verdict.check: filed.verdict for filed in outcome.filed}


def test_token_drift_is_exactly_as_computed_off_and_gone_on(assay_run: Run) -> None:
    outcome = assay_run("token-drift", samples=20)
    assert outcome.code == 0, outcome
    found = by_check(outcome)
    off, on = found["drift as computed (off)"], found["no token lost (on)"]
    assert off.figure == off.threshold
    assert off.figure is not None
    assert off.figure > 0
    assert on.figure == 0
    assert found["ids run = ids sent (on)"].status == "pass"


def test_sharing_an_encoder_pass_changes_nothing(assay_run: Run) -> None:
    outcome = assay_run("vit-batching", samples=16)
    assert outcome.code == 0, outcome
    assert by_check(outcome)["cross_request = per_item, token for token"].status == "pass"


def test_the_planted_split_turns_the_run_red(assay_run: Run) -> None:
    outcome = assay_run(samples=24, plant="F1-01")
    assert outcome.code == 1, outcome
    found = by_check(outcome)
    wrong = found["span length = encoder rows (cross_request)"].evidence["wrong"][0]
    assert wrong["request"].startswith("batch-")
    assert wrong["item"] >= 0
    assert len(wrong["span"]) > 1
    assert sum(wrong["placeholders"]) > wrong["rows"][0]
    accuracy = found["accuracy unchanged (per_item to cross_request)"]
    assert accuracy.status == "fail"
    assert set(accuracy.evidence["lost"]) > set(accuracy.evidence["lost_by_refusal"])


def test_all_figures_of_each_setting_are_measured(assay_run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Performance, "effort", replace(Performance.effort, plan=Plan((4,), alpha=0.1)))
    outcome = assay_run("performance", samples=4)
    assert outcome.problem is None, outcome
    assert {len(filed.verdict.evidence["rounds"]) for filed in outcome.filed} == {2}
    assert len(outcome.filed) == 10
    rounds = [event for event in load_record(outcome.record)["events"] if event["event"] == "round"]
    assert all(timing["prompt_tokens"] > 0 for event in rounds for timing in event["timings"])


def test_an_unknown_fault_ends_the_run_with_the_servers_own_words(assay_run: Run) -> None:
    outcome = assay_run(plant="F9-99")
    assert outcome.code == 2
    assert outcome.problem is not None
    assert "F9-99" in outcome.problem
    assert outcome.record.exists()
