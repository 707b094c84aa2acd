"""The verdict table at the end of a run, for a terminal and as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict

from rich.console import Console
from rich.table import Table

from harness.progress import MARKS, escaped, mark
from harness.session import Outcome
from harness.verdict import CANNOT_TELL, FAILED, NOT_DONE, PASSED, Filed, Status

ENDINGS = {
    PASSED: ("green", "passed"),
    FAILED: ("bold red", "FAILED: a check went red"),
    NOT_DONE: ("bold red", "NOT DONE: the run broke off, or nothing was exercised"),
    CANNOT_TELL: ("magenta", "CANNOT TELL: a figure is too noisy on this machine"),
}


def print_summary(console: Console, outcome: Outcome) -> None:
    """Verdicts by job, then how the run ended and where to read on."""
    table = Table(box=None, padding=(0, 1), header_style="dim", show_edge=False)
    table.add_column("verdict", no_wrap=True)
    table.add_column("check", ratio=2)
    table.add_column("reading", ratio=3)
    job = ""
    for filed in outcome.filed:
        if filed.job != job:
            if job:
                table.add_row()
            table.add_row(f"[bold]{filed.job}[/]")
            job = filed.job
        table.add_row(*_row(filed))
    if outcome.filed:
        console.print(table, highlight=False)
    colour, words = ENDINGS[outcome.code]
    if outcome.problem:
        console.print(f"\n[bold red]error:[/] {escaped(outcome.problem)}", highlight=False, soft_wrap=True)
    console.print(f"\n[{colour}]{words}[/] in {outcome.seconds:.0f} s: {counts(outcome.filed)}", highlight=False)
    console.print(f"record  {outcome.record}\npage    {outcome.page}", highlight=False, soft_wrap=True)


def _row(filed: Filed) -> tuple[str, str, str]:
    sign, words, colour = mark(filed)
    return f"[{colour}]{sign} {words}[/]", escaped(filed.verdict.check), f"[dim]{escaped(filed.message)}[/]"


def counts(filed: list[Filed]) -> str:
    """How many verdicts of each status; those inside a drill and known failures do not count."""
    statuses: list[Status] = [f.verdict.status for f in filed if f.counts]
    parts = [
        f"{statuses.count(status)} {words.lower()}" for status, (_, words, _) in MARKS.items() if status in statuses
    ]
    drilled, known = sum(f.drill for f in filed), sum(f.known is not None for f in filed)
    more = (f"; {drilled} more inside a drill" if drilled else "") + (f"; {known} known failures" if known else "")
    return ", ".join(parts or ["no verdict"]) + more


def as_json(outcome: Outcome) -> str:
    """The same for programs; evidence is in the record."""
    verdicts = [
        {"job": f.job, "drill": f.drill, "known": f.known}
        | {k: v for k, v in asdict(f.verdict).items() if k != "evidence"}
        for f in outcome.filed
    ]
    summary = {"exit_code": outcome.code, "seconds": round(outcome.seconds, 1), "problem": outcome.problem}
    return json.dumps(
        summary | {"record": str(outcome.record), "page": str(outcome.page), "verdicts": verdicts}, indent=2
    )
