"""``assay load`` on the stand-in: planned arrivals, verdicts, record, page; and what is refused at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from harness.cli import build_parser
from harness.errors import TargetDied, UsageError
from harness.jobs import JobContext
from harness.jobs.load import Asked, load_job, parse_objective
from harness.load import options
from harness.load.arrivals import Rate
from harness.load.timing import Objective
from harness.records import load_record
from harness.report.load_chart import load_pictures
from harness.report.page import render
from harness.workloads.load import Shape

MakeContext = Callable[..., JobContext]
SMALL = Asked(workload="text", shape=Shape(words=4, output_tokens=3), distinct=3, rate=Rate(20, 1.0), warmup=0.2)


def run(context: JobContext, asked: Asked) -> dict[str, str]:
    load_job(asked)().run(context)
    return {filed.verdict.check: filed.verdict.status for filed in context.filed}


def test_an_open_loop_is_judged_recorded_and_shown(make_context: MakeContext) -> None:
    context = make_context()
    asked = replace(SMALL, arrival="constant", objective=Objective(ttft=0.000001), workload="multi-turn", share=0.5)
    found = run(context, asked)
    assert found["every request answered"] == "pass"
    assert found["prompt tokens as predicted"] == "not_exercised"  # of a stand-in's family nothing is known
    assert found["goodput within ttft 0.001 ms"] in ("fail", "cannot_tell")
    record = load_record(context.recorder.partial)
    [event] = [event for event in record["events"] if event["event"] == "load"]
    assert (event["sent"] + event["warm"], event["failed"]) == (20 * 3, 0)
    assert event["goodput"]["share"] == 0.0
    assert event["counted_by"].startswith("the server: no prediction for")
    assert event["top_rate"]["requests"] > 0
    [picture] = load_pictures([event])
    assert picture.svg.count('class="first') == len(event["timings"])
    assert 'class="load"' in render(record)


def test_a_closed_loop_goes_on_until_its_time_is_over_and_counts_what_fails(make_context: MakeContext) -> None:
    context = make_context({"*": ["--plant", "F1-01", "--slice-rows", "1"]})
    asked = replace(SMALL, workload="image", concurrency=2, rate=Rate(1, 0.6), warmup=0.0)
    found = run(context, asked)
    assert found["every request answered"] == "fail"
    [event] = [e for e in load_record(context.recorder.partial)["events"] if e["event"] == "load"]
    assert event["sent"] > 3
    assert "HTTP 500" in event["timings"][0]["error"]
    assert 'class="failed"' in load_pictures([event])[0].svg


def test_a_server_that_dies_under_load_is_told_after_all_that_was_measured(make_context: MakeContext) -> None:
    context = make_context({"*": ["--after", "4", "--then", "crash"]})
    with pytest.raises(TargetDied, match="under load"):
        run(context, replace(SMALL, workload="image", concurrency=2, rate=Rate(1, 1.0), warmup=0.0))
    [event] = [e for e in load_record(context.recorder.partial)["events"] if e["event"] == "load"]
    assert sum(timing["error"] is None for timing in event["timings"]) == 4
    [answered] = [filed.verdict for filed in context.filed if filed.verdict.check == "every request answered"]
    assert answered.status == "fail"


def test_a_trace_is_sent_at_its_times(make_context: MakeContext, tmp_path: Path) -> None:
    trace = tmp_path / "trace.jsonl"
    lines = [
        '{"at": 0, "prompt_tokens": 30, "output_tokens": 2, "images": [[28, 28]]}',
        '{"at": 0.3, "prompt_tokens": 40, "output_tokens": 5, "images": [[56, 28]]}',
    ]
    trace.write_text("\n".join(lines))
    context = make_context()
    run(context, replace(SMALL, arrival="trace", trace=trace, warmup=0.0))
    [event] = [e for e in load_record(context.recorder.partial)["events"] if e["event"] == "load"]
    assert [t["completion_tokens"] for t in event["timings"]] == [2, 5]
    assert event["timings"][1]["intended"] == pytest.approx(0.3)


def test_the_command_line_says_all_of_it() -> None:
    line = (
        "load --arrival ramp --rate 2 --end-rate 8 --duration 9 --workload image --images 2 --slo ttft=500ms,itl=0.05s"
    )
    asked = options.asked(build_parser().parse_args(line.split()))
    assert asked == Asked(
        workload="image",
        shape=Shape(images=2),
        arrival="ramp",
        rate=Rate(2.0, 9.0, end_rate=8.0),
        objective=Objective(ttft=0.5, itl=0.05),
    )
    assert options.asked(build_parser().parse_args(["load"])) == Asked()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("--slo ttft=fast", "--slo 'ttft=fast': write ttft=500ms"),
        ("--arrival often", "--arrival often: known are closed, constant"),
        ("--arrival ramp", "needs --end-rate"),
        ("--arrival trace", "go together"),
        ("--goodput 1.5", "--goodput 1.5: a share"),
        ("--rate 0", "--rate 0: a number above 0"),
        ("--concurrency 0", "--concurrency 0: at least 1"),
    ],
)
def test_what_cannot_be_is_refused_by_name(line: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        options.asked(build_parser().parse_args(["load", *line.split()]))


def test_limits_are_read_in_either_unit() -> None:
    assert parse_objective("ttft=500ms, e2e=2s") == Objective(ttft=0.5, e2e=2.0)
