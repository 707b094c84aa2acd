"""``assay accuracy TASK``: a task's questions under several settings of any target, compared question by question.

    assay accuracy sentinel --compare vit_batching=per_item,cross_request
    assay accuracy mine.jsonl --target url --url http://127.0.0.1:8000 --model FILES --baseline before.json

Exit codes: 0 nothing got worse, 1 a setting answers fewer right, 2 could not be done, 3 cannot tell, 130 interrupted.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Sequence
from pathlib import Path

from harness.errors import UsageError


def main(argv: Sequence[str]) -> int:
    options, others = build_parser().parse_known_args(argv)
    from harness import cli
    from harness.tasks.job import Accuracy, Plan, accuracy_job

    parsed = cli.build_parser().parse_args(["run", Accuracy.name, *others])
    parsed.declared = (accuracy_job(Plan(options.task, settings_of(options.compare), options.baseline)),)
    return int(parsed.command(parsed))


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="assay accuracy", description="Questions with right answers, under several settings of a target.",
        epilog="All options of `assay run` too: --target, --url, --model, --samples, --toggle, --plant and so on.",
        allow_abbrev=False,
    )  # fmt: skip
    parser.add_argument("task", help="sentinel, FILE.jsonl, FILE.yaml, lm_eval:NAME or lmms_eval:NAME")
    parser.add_argument(
        "--compare", action="append", default=[], metavar="TOGGLE=A,B",
        help="a toggle and its settings; repeatable: every combination is asked, and held against the first",
    )  # fmt: skip
    parser.add_argument("--baseline", type=Path, metavar="RECORD", help="an earlier run's record, to be held against")
    return parser


def settings_of(compared: Sequence[str]) -> dict[str, dict[str, str]]:
    """Every combination by name."""
    columns = []
    for given in compared:
        name, separator, settings = given.partition("=")
        if not separator or not all(settings.split(",")):
            raise UsageError(f"--compare {given!r}: write TOGGLE=SETTING,SETTING")
        columns.append([(name, setting) for setting in settings.split(",")])
    rows = [dict(row) for row in itertools.product(*columns)]
    return {" ".join(f"{name}={setting}" for name, setting in row.items()) or "as launched": row for row in rows}
