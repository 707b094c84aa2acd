"""Writes the results: ``bench.json`` with every round, ``bench.md``, and ``bench.html``, a page that stands alone."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from harness.bench.run import Outcome
from harness.bench.table import as_json, chart_verdicts, markdown
from harness.report.charts import ratio_rows
from harness.surroundings import assay_version


def write(outcome: Outcome, directory: Path) -> str:
    """The three files into ``directory``; returns the Markdown."""
    directory.mkdir(parents=True, exist_ok=True)
    text = markdown(outcome.results, outcome.environment, outcome.measures)
    (directory / "bench.md").write_text(text, encoding="utf-8")
    record = as_json(outcome.results, outcome.environment, outcome.measures)
    (directory / "bench.json").write_text(record, encoding="utf-8")
    (directory / "bench.html").write_text(page(outcome), encoding="utf-8")
    return text


def page(outcome: Outcome) -> str:
    """Every ratio on one axis, entry by entry."""
    environment = Environment(
        loader=PackageLoader("harness.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template("bench.html.j2").render(
        assay=assay_version(),
        begun=outcome.environment["begun"],
        machine=outcome.environment["machine"],
        ratios=ratio_rows(chart_verdicts(outcome.results)),
        dropped=[
            (result.entry.name, one.seat.name, one.status, one.note)
            for result in outcome.results
            for one in result.seats
            if one.status != "timed"
        ],
    )
