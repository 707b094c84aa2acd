"""The command line of a comparison: ``assay ab --compare vit_batching --limit 5%``, or ``--candidate NAME=SETTING``."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import TYPE_CHECKING

from harness.errors import UsageError
from harness.toggles import find_toggle, parse_overrides

if TYPE_CHECKING:
    from harness.jobs.ab import ABJob
    from harness.stats import Plan

SIDES = ("baseline", "candidate")


def add(parser: argparse.ArgumentParser) -> None:
    what = parser.add_argument_group("what is compared", "without any of these: A against A")
    what.add_argument(
        "--compare", action="append", metavar="TOGGLE", help="its first setting against its second; repeatable"
    )
    for side in SIDES:
        what.add_argument(
            f"--{side}", action="append", metavar="NAME=SETTING", help=f"a setting of the {side}; repeatable"
        )
    what.add_argument("--candidate-python", metavar="PATH", help="Python of the candidate's release")
    how = parser.add_argument_group("how")
    how.add_argument("--limit", metavar="PERCENT", help="what may be lost, as 5%% (default)")
    how.add_argument("--most-pairs", type=int, metavar="N", help="the last look (default: 400)")
    how.add_argument("--budget", type=float, metavar="S", help="no pair is begun after so many seconds")
    how.add_argument(
        "--one-at-a-time", action="store_true", help="start a server anew for each round, never two at once"
    )
    how.add_argument("--samples", type=int, metavar="N", help="requests a round (default: 12)")
    how.add_argument("--concurrency", type=int, metavar="N", help="callers of a round (default: 4)")
    how.add_argument("--output-tokens", type=int, metavar="N", help="tokens an answer, exactly (default: 12)")


def asked(arguments: argparse.Namespace) -> type[ABJob]:
    """The job that a command line asks for."""
    from harness.jobs.ab import THOROUGH_EFFORT, Arms, ab_job

    arms = [Arms({name: find_toggle(name).off}, {name: find_toggle(name).on}) for name in arguments.compare or ()]
    baseline, candidate = (parse_overrides(getattr(arguments, side) or ()) for side in SIDES)
    if baseline or candidate or arguments.candidate_python or not arms:
        arms.append(Arms(baseline, candidate, arguments.candidate_python))
    effort = replace(THOROUGH_EFFORT, one_at_a_time=arguments.one_at_a_time, budget=arguments.budget)
    if arguments.limit is not None:
        effort = replace(effort, loss=parse_limit(arguments.limit))
    if arguments.most_pairs is not None:
        effort = replace(effort, plan=shortened(effort.plan, arguments.most_pairs))
    for option, name in (("concurrency", "concurrency"), ("output_tokens", "new_tokens")):
        if (value := getattr(arguments, option)) is not None:
            if value < 1:
                raise UsageError(f"--{option.replace('_', '-')} {value}: at least 1 is needed")
            effort = replace(effort, **{name: value})
    return ab_job(arms, effort)


def parse_limit(text: str) -> float:
    try:
        loss = float(text.removesuffix("%")) / 100
    except ValueError as error:
        raise UsageError(f"--limit {text}: write a percentage such as 5%") from error
    if not 0 < loss < 1:
        raise UsageError(f"--limit {text}: above 0% and below 100%")
    return loss


def shortened(plan: Plan, pairs: int) -> Plan:
    """``plan`` up to ``pairs``, which become its last look."""
    try:
        return replace(plan, looks=(*(look for look in plan.looks if look < pairs), pairs))
    except ValueError as error:
        raise UsageError(f"--most-pairs {pairs}: {error}") from error
