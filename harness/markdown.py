"""Free text in Markdown tables: any cell stays one cell of one line, and reads as it was written."""

from __future__ import annotations

from collections.abc import Iterable


def cell(text: str) -> str:
    return " ".join(text.split()).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")


def table_row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(map(cell, cells))} |"
