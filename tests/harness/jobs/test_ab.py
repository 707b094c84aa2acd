"""``assay ab`` on the stand-in: a slowed candidate is red, and what is asked is what is compared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from harness.cli import build_parser
from harness.errors import UsageError
from harness.jobs import JobContext
from harness.jobs.ab import THOROUGH_EFFORT, ABJob, Arms, ab_job
from harness.load import ab_options
from harness.stats import THOROUGH, Plan

MakeContext = Callable[..., JobContext]
SHORT = replace(THOROUGH_EFFORT, plan=Plan((5,), alpha=0.05), samples=2, loss=0.3)


def asked(line: str) -> type[ABJob]:
    return ab_options.asked(build_parser().parse_args(["ab", *line.split()]))


def test_a_candidate_with_several_settings_is_judged_against_the_baseline(make_context: MakeContext) -> None:
    arms = Arms({"vit_batching": "per_item"}, {"vit_batching": "cross_request", "avoid_retokenize": "off"})
    context = make_context({"cross_request": ["--delay", "0.3"]})
    ab_job([arms], SHORT)().run(context)
    found = {filed.verdict.check: filed.verdict for filed in context.filed}
    subject = "vit_batching=cross_request, avoid_retokenize=off against vit_batching=per_item"
    ttft = found[f"TTFT, {subject} candidate / baseline"]
    assert (ttft.status, ttft.source) == ("fail", "sglang#25910")
    assert found[f"peak memory, {subject} candidate / baseline"].status == "pass"


def test_a_budget_that_is_over_leaves_nothing_judged(make_context: MakeContext) -> None:
    context = make_context()
    ab_job([Arms()], replace(SHORT, budget=-1.0))().run(context)
    assert {filed.verdict.status for filed in context.filed} == {"not_exercised"}
    assert context.filed[0].verdict.check == "throughput, as it is against as it is candidate / baseline"


def test_the_command_line_says_what_is_compared_and_how() -> None:
    job = asked("--compare vit_batching --compare encoder_cache --limit 10% --most-pairs 50 --one-at-a-time")
    assert job.arms == (
        Arms({"vit_batching": "per_item"}, {"vit_batching": "cross_request"}),
        Arms({"encoder_cache": "off"}, {"encoder_cache": "on"}),
    )
    plan = Plan((11, 16, 24, 36, 50), THOROUGH.alpha)
    assert job.effort == replace(THOROUGH_EFFORT, loss=0.1, plan=plan, one_at_a_time=True)
    assert asked("").arms == (Arms(),)
    both = asked("--baseline prefix_cache=off --candidate prefix_cache=on --candidate-python /new/python")
    assert both.arms == (Arms({"prefix_cache": "off"}, {"prefix_cache": "on"}, "/new/python"),)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("--limit much", "--limit much: write a percentage"),
        ("--limit 0%", "--limit 0%: above 0%"),
        ("--most-pairs 3", "--most-pairs 3: looks: 3 pairs can reject nothing"),
        ("--compare speed", "unknown toggle 'speed'"),
        ("--candidate prefix_cache", "write name=setting"),
        ("--concurrency 0", "--concurrency 0: at least 1"),
    ],
)
def test_what_cannot_be_compared_is_refused_by_name(line: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        asked(line)
