"""The report card: for a terminal, as Markdown, as a page, as a picture, as JSON. It names engine and model, and holds
no address, no key, no path.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from itertools import groupby
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from rich.console import Console
from rich.table import Table

from harness.markdown import cell, table_row
from harness.probe.run import Report
from harness.progress import MARKS, escaped
from harness.surroundings import assay_version
from harness.verdict import CANNOT_TELL, FAILED, NOT_DONE, PASSED, Filed

ENDINGS = {
    PASSED: ("green", "all that could be asked passed"),
    FAILED: ("bold red", "something is wrong"),
    NOT_DONE: ("bold red", "not done: it ended early, or nothing was exercised"),
    CANNOT_TELL: ("magenta", "nothing failed; something cannot be told"),
}
COLOURS = {"pass": "#2e9e5b", "fail": "#d0342c", "not_exercised": "#b8bcc4", "cannot_tell": "#9b59b6"}
ROW, TOP = 22, 118


def show(console: Console, report: Report, code: int) -> None:
    table = Table(box=None, padding=(0, 1), header_style="dim", show_edge=False)
    table.add_column("verdict", no_wrap=True)
    table.add_column("check", ratio=2)
    table.add_column("what was seen", ratio=5)
    for group, filed in _groups(report):
        table.add_row(f"[bold]{group}[/]")
        for one in filed:
            sign, words, colour = MARKS[one.verdict.status]
            message = escaped(one.verdict.message)
            table.add_row(f"[{colour}]{sign} {words}[/]", escaped(one.verdict.check), f"[dim]{message}[/]")
        table.add_row()
    console.print(table, highlight=False)
    for name, value in facts(report).items():
        console.print(f"[dim]{name:<10}[/] {escaped(value)}", highlight=False)
    colour, words = ENDINGS[code]
    console.print(f"\n[{colour}]{words}[/]: {tally(report)}", highlight=False)


def facts(report: Report) -> dict[str, str]:
    told = {
        "engine": report.speaks.engine,
        "model": served(report),
        "speaks": "; ".join(f"{name} ({how})" if how != name else name for name, how in report.speaks.has.items()),
        "lacks": "; ".join(f"{name} ({why})" for name, why in report.speaks.lacks.items())
        or "nothing that was asked for",
        "predicted": "from the model's files" if report.model else "nothing (name the model's files: --model)",
        "asked": f"{report.requests} requests in {report.seconds:.0f} s, greedy, seed {report.seed}, "
        f"tolerance {report.tolerance:g} nats; Assay {assay_version()}",
    }
    return told | ({"ended": report.ended} if report.ended else {})


def served(report: Report) -> str:
    """The model's name without the folders before it."""
    parts = report.speaks.model.rstrip("/").split("/")
    return "/".join(parts[-2:] if len(parts) == 2 else parts[-1:])


def tally(report: Report) -> str:
    statuses = [one.verdict.status for one in report.filed]
    return ", ".join(f"{statuses.count(s)} {words.lower()}" for s, (_, words, _) in MARKS.items() if s in statuses)


def _groups(report: Report) -> Iterator[tuple[str, list[Filed]]]:
    for group, filed in groupby(report.filed, key=lambda one: one.job):
        yield group, list(filed)


def as_json(report: Report, code: int) -> str:
    verdicts = [{"group": one.job, **asdict(one.verdict)} for one in report.filed]
    head: dict[str, Any] = {"exit_code": code, "engine": report.speaks.engine, "model": served(report)}
    spoken = {"has": report.speaks.has, "lacks": report.speaks.lacks}
    rest = {
        "requests": report.requests,
        "seconds": round(report.seconds, 1),
        "seed": report.seed,
        "ended": report.ended,
    }
    return json.dumps(head | spoken | rest | {"assay": assay_version(), "verdicts": verdicts}, indent=1, default=str)


def as_markdown(report: Report, code: int) -> str:
    lines = [f"# {served(report)} on {report.speaks.engine}", "", f"**{ENDINGS[code][1]}**: {tally(report)}", ""]
    lines += [f"- {name}: {cell(value)}" for name, value in facts(report).items()]
    for group, filed in _groups(report):
        lines += ["", f"## {group}", "", "| verdict | check | what was seen | invariant |", "|---|---|---|---|"]
        for one in filed:
            sign, words, _ = MARKS[one.verdict.status]
            verdict = one.verdict
            lines.append(table_row((f"{sign} {words}", verdict.check, verdict.message, str(verdict.invariant))))
    return "\n".join(lines) + "\n"


def as_svg(report: Report, code: int) -> str:
    return _render("card.svg.j2", report, code)


def as_html(report: Report, code: int) -> str:
    return _render("probe.html.j2", report, code)


def _render(template: str, report: Report, code: int) -> str:
    loader = PackageLoader("harness", "report/templates")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    groups = list(_groups(report))
    columns = [groups[:2], groups[2:]]
    height = TOP + ROW * max(sum(len(filed) + 2 for _, filed in column) for column in columns) + 20
    return environment.get_template(template).render(
        columns=columns, groups=groups, facts=facts(report), tally=tally(report), ending=ENDINGS[code][1], code=code,
        engine=report.speaks.engine, model=served(report), marks=MARKS, colours=COLOURS, assay=assay_version(),
        predicted=report.model is not None, height=height, row=ROW, top=TOP,
    )  # fmt: skip
