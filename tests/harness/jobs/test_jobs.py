"""The shipped jobs against a real stand-in server: green when it behaves, red for each way in which it does not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from harness.errors import LaunchError, TargetDied, UsageError
from harness.jobs import JobContext, find_jobs
from harness.jobs.equal_to_alone import EqualToAlone
from harness.jobs.performance import Performance
from harness.jobs.token_drift import TokenDrift
from harness.jobs.vit_batching import VitBatching, VitBatchingDrill
from harness.records import load_record
from harness.stats import Plan
from harness.verdict import exit_code

MakeContext = Callable[..., JobContext]


def statuses(context: JobContext) -> dict[str, str]:
    return {filed.verdict.check: filed.verdict.status for filed in context.filed}


def test_drift_is_seen_off_and_gone_on(make_context: MakeContext) -> None:
    context = make_context()
    TokenDrift().run(context)
    found = {filed.verdict.check: filed.verdict for filed in context.filed}
    off, on = found["drift as computed (off)"], found["no token lost (on)"]
    assert (off.status, on.status) == ("pass", "pass")
    assert off.figure == off.threshold
    assert off.figure is not None
    assert off.figure > 10
    assert on.figure == 0
    assert set(statuses(context).values()) == {"pass"}


def test_a_target_that_always_retokenizes_turns_on_red(make_context: MakeContext) -> None:
    context = make_context({"on": ["--avoid-retokenize", "off"]})
    TokenDrift().run(context)
    found = statuses(context)
    assert found["drift as computed (off)"] == "pass"
    assert found["no token lost (on)"] == "fail"
    assert found["ids run = ids sent (on)"] == "fail"


def test_a_target_that_drops_a_token_is_not_taken_for_one_that_retokenizes(make_context: MakeContext) -> None:
    context = make_context({"*": ["--drops-last-id"]})
    TokenDrift().run(context)
    found = statuses(context)
    assert (found["drift as computed (off)"], found["no token lost (on)"]) == ("fail", "fail")


def test_batching_that_keeps_rows_apart_passes(make_context: MakeContext) -> None:
    context = make_context()
    VitBatching().run(context)
    assert set(statuses(context).values()) == {"pass"}
    assert exit_code(context.filed) == 0


def test_the_planted_split_turns_the_job_red_and_names_it(make_context: MakeContext) -> None:
    context = make_context(plant="F1-01")
    VitBatching().run(context)
    found = statuses(context)
    assert found["span length = encoder rows (per_item)"] == "pass"
    assert found["span length = encoder rows (cross_request)"] == "fail"
    assert found["accuracy unchanged (per_item to cross_request)"] == "fail"
    assert exit_code(context.filed) == 1
    rows = next(f.verdict for f in context.filed if f.verdict.check == "span length = encoder rows (cross_request)")
    wrong = rows.evidence["wrong"][0]
    assert wrong["request"].startswith("batch-")
    assert sum(wrong["placeholders"]) == wrong["expected"] > wrong["rows"][0]


def test_the_drill_passes_because_the_checks_fail(make_context: MakeContext) -> None:
    context = make_context()
    VitBatching().run(context)
    VitBatchingDrill().run(context)
    outer = context.filed[-1]
    assert (outer.verdict.check, outer.verdict.status) == ("planted F1-01 is caught", "pass")
    assert sum(filed.drill and filed.verdict.status == "fail" for filed in context.filed) == 4
    assert exit_code(context.filed) == 0


def test_the_drill_fails_when_the_fault_does_not_act(make_context: MakeContext) -> None:
    context = make_context({"cross_request": ["--vit-batching", "per_item"]}, samples=8)
    VitBatchingDrill().run(context)
    assert context.filed[-1].verdict.status == "fail"


def test_batching_that_never_shares_a_pass_is_not_exercised(make_context: MakeContext) -> None:
    context = make_context({"cross_request": ["--vit-batching", "per_item"]})
    VitBatching().run(context)
    assert statuses(context)["cross_request = per_item, token for token"] == "not_exercised"


def test_a_crowd_that_changes_nothing_passes(make_context: MakeContext) -> None:
    context = make_context()
    EqualToAlone().run(context)
    [filed] = context.filed
    assert (filed.verdict.status, filed.verdict.figure) == ("pass", 32)


def test_neighbours_that_change_one_bit_are_seen(make_context: MakeContext) -> None:
    context = make_context({"*": ["--neighbours-count"]}, samples=8)
    EqualToAlone().run(context)
    [filed] = context.filed
    assert filed.verdict.status == "fail"
    assert "token 0: alone" in filed.verdict.message


def test_a_crowd_that_is_none_or_promises_nothing_is_not_exercised(make_context: MakeContext) -> None:
    for flags, words in (
        (["--vit-batching", "per_item"], "no encoder pass held pictures of two requests"),
        (["--batch-invariant", "off"], "no answer says that batch_invariant acted"),
    ):
        context = make_context({"*": flags}, samples=8)
        EqualToAlone().run(context)
        [filed] = context.filed
        assert (filed.verdict.status, filed.verdict.message) == ("not_exercised", words)
    context.target.spellings = {}
    EqualToAlone().run(context)
    assert context.filed[-1].verdict.message.startswith("unsupported by stand-in of unknown version (")


def test_a_target_without_switches_is_judged_as_it_is_and_says_what_it_lacks(make_context: MakeContext) -> None:
    context = make_context(samples=8)
    context.target.spellings, context.target.plantable, context.target.version = {}, False, "9"
    for job in (TokenDrift(), VitBatching(), VitBatchingDrill(), Performance()):
        job.run(context)
    found = {filed.verdict.check: filed.verdict for filed in context.filed}
    assert found["no token lost (as it is)"].status == "pass"
    assert found["ids run = ids sent (as it is)"].status == "pass"
    unsupported = [verdict for verdict in found.values() if verdict.message.startswith("unsupported by stand-in 9 (")]
    assert [verdict.status for verdict in unsupported] == ["not_exercised"] * len(unsupported)
    assert {"drift as computed (off)", "span length = encoder rows", "planted F1-01 is caught"} <= {
        verdict.check for verdict in unsupported
    }


def test_settings_of_a_large_target_run_one_after_the_other(make_context: MakeContext) -> None:
    context = make_context(samples=8)
    context.target.side_by_side = False
    TokenDrift().run(context)
    assert set(statuses(context).values()) == {"pass"}
    events = load_record(context.recorder.partial)["events"]
    order = [(event["event"], event["setting"]) for event in events if event["event"] in ("launch", "stop")]
    assert order == [("launch", "off"), ("stop", "off"), ("launch", "on"), ("stop", "on")]


def test_rows_one_short_are_seen(make_context: MakeContext) -> None:
    context = make_context({"cross_request": ["--wrong-rows"]}, samples=8)
    VitBatching().run(context)
    assert statuses(context)["span length = encoder rows (cross_request)"] == "fail"


def test_a_slower_setting_is_a_regression(make_context: MakeContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Performance, "compares", ("avoid_retokenize",))
    monkeypatch.setattr(Performance, "effort", replace(Performance.effort, plan=Plan((8,))))
    context = make_context({"on": ["--delay", "0.4"]}, samples=4)
    Performance().run(context)
    found = {filed.verdict.check: filed.verdict for filed in context.filed}
    ttft = found["TTFT, avoid_retokenize on / off"]
    assert ttft.status == "fail"
    assert ttft.figure is not None
    assert ttft.figure > 1.5
    assert (ttft.evidence["looks"], ttft.evidence["ratio"]["rounds"]) == (1, 8)
    assert "after 8 pairs in" in ttft.message
    assert found["peak memory, avoid_retokenize on / off"].status == "pass"


def test_settings_that_cannot_run_together_are_started_one_at_a_time(
    make_context: MakeContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Performance, "compares", ("avoid_retokenize",))
    effort = replace(Performance.effort, plan=Plan((2,), alpha=0.25), one_at_a_time=True, rounds_a_start=1)
    monkeypatch.setattr(Performance, "effort", effort)
    context = make_context({"on": ["--delay", "0.4"]}, samples=2)
    Performance().run(context)
    assert statuses(context)["TTFT, avoid_retokenize on / off"] == "fail"
    events = load_record(context.recorder.partial)["events"]
    order = [event["event"] for event in events if event["event"] in ("launch", "stop")]
    assert order == ["launch", "stop"] * 4


def test_a_target_that_refuses_what_it_was_rightly_sent_is_red(make_context: MakeContext) -> None:
    context = make_context({"*": ["--after", "4", "--then", "decline"]})
    TokenDrift().run(context)
    found = statuses(context)
    assert (found["every request answered (off)"], found["every request answered (on)"]) == ("fail", "fail")


def test_death_in_the_middle_keeps_what_was_measured(make_context: MakeContext) -> None:
    context = make_context({"on": ["--dies-after", "5"]})
    with pytest.raises(TargetDied, match=r"server on ended with exit code 3 while answering request drift-\d+"):
        TokenDrift().run(context)
    events = load_record(context.recorder.partial)["events"]
    answers = [event["setting"] for event in events if event["event"] == "answer"]
    assert answers.count("off") == 16
    assert 1 <= answers.count("on") <= 5
    stops = {event["setting"]: event["log_tail"] for event in events if event["event"] == "stop"}
    assert "told to die" in stops["on"]


def test_death_at_start_leaves_no_other_server(make_context: MakeContext) -> None:
    context = make_context({"on": ["--dies-at-start"]})
    with pytest.raises(LaunchError, match="cannot find its weights"):
        TokenDrift().run(context)


def test_jobs_are_found_by_name() -> None:
    names = ["token-drift", "vit-batching", "vit-batching-drill", "equal-to-alone", "performance"]
    assert [job.name for job in find_jobs([])] == names
    assert [job.name for job in find_jobs([], plant="F1-01")] == ["vit-batching", "equal-to-alone"]
    with pytest.raises(UsageError, match="unknown job 'tokendrift'; known: token-drift"):
        find_jobs(["tokendrift"])
    with pytest.raises(UsageError, match="those that do: vit-batching"):
        find_jobs(["token-drift"], plant="F1-01")
