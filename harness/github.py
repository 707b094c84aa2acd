"""What GitHub shows of a run: annotations on its checks page, and the job's summary."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from harness.markdown import table_row
from harness.progress import mark
from harness.verdict import Filed

MOST_BYTES = 2**20
"""A step's summary may be 1 MiB; a longer one is not shown at all."""


def error_line(title: str, message: str) -> str:
    """A workflow command that shows ``message`` as an error."""
    return f"::error title={_escaped(title, ':,')}::{_escaped(message)}"


def error_lines(filed: Iterable[Filed]) -> Iterator[str]:
    """One line for each failure that counts."""
    for one in filed:
        if one.red:
            yield error_line(f"{one.job}: {one.verdict.check}", one.verdict.message)


def summary(filed: Iterable[Filed]) -> str:
    """The verdicts as a Markdown table."""
    rows = ["| job | verdict | check | reading |", "|---|---|---|---|"]
    for one in filed:
        sign, words, _ = mark(one)
        cells = (one.job, f"{sign} {words}{' (drill)' if one.drill else ''}", one.verdict.check, one.message)
        rows.append(table_row(cells))
    return "\n".join(rows) + "\n"


def add_summary(filed: Iterable[Filed]) -> None:
    """Append the table to the step's summary, where there is one and it has room."""
    path = os.environ.get("GITHUB_STEP_SUMMARY")
    if not path:
        return
    text, file = summary(filed), Path(path)
    taken = file.stat().st_size if file.exists() else 0
    if taken + len(text.encode()) <= MOST_BYTES:
        with file.open("a", encoding="utf-8") as out:
            out.write(text)


def _escaped(text: str, also: str = "") -> str:
    for character in "%\r\n" + also:
        text = text.replace(character, f"%{ord(character):02X}")
    return text
