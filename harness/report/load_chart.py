"""The picture of a load: every request where it was meant to be sent, how long to its first token and to its end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup
from rich.console import Console
from rich.table import Table

HEIGHT, TOP, FLOOR = 190, 12, 170
TICKS = 4


@dataclass(frozen=True)
class LoadPicture:
    """A ``load`` event ready to be shown: rows of text and the plot."""

    event: Mapping[str, Any]
    spreads: list[tuple[str, list[str]]]
    """Name of the time; mean, 50th, 90th and 99th percentile and worst in milliseconds."""
    rates: list[tuple[str, str]]
    svg: Markup


def load_pictures(events: Sequence[Mapping[str, Any]]) -> list[LoadPicture]:
    return [LoadPicture(e, spread_rows(e), [(n, f"{v:.4g}") for n, v in e["rates"].items()], _svg(e)) for e in events]


def spread_rows(event: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    found = []
    for name, spread in event["spreads"].items():
        if spread is not None:
            values = (spread["mean"], *spread["percentiles"].values(), spread["worst"])
            found.append((name, [f"{1000 * value:.1f}" for value in values]))
    return found


def _svg(event: Mapping[str, Any]) -> Markup:
    timings = event["timings"]
    longest = max((t["ended"] - t["intended"] for t in timings if t["error"] is None), default=0.0) or 1.0
    whole = max((t["intended"] for t in timings), default=0.0) or 1.0

    def x(second: float) -> str:
        return f"{2 + 96 * second / whole:.2f}%"

    def y(seconds: float) -> float:
        return round(FLOOR - (FLOOR - TOP) * seconds / longest, 1)

    shapes = [
        f'<line class="grid" x1="2%" x2="98%" y1="{y(longest * n / TICKS)}" y2="{y(longest * n / TICKS)}"/>'
        f'<text x="2%" y="{y(longest * n / TICKS) - 3}">{1000 * longest * n / TICKS:.0f} ms</text>'
        for n in range(1, TICKS + 1)
    ]
    for timing in timings:
        at, warm = x(timing["intended"]), " warm" if timing["warm"] else ""
        if timing["error"] is not None:
            shapes.append(f'<circle class="failed" cx="{at}" cy="{TOP}" r="3.5"/>')
            continue
        end = y(timing["ended"] - timing["intended"])
        if timing["first"] is not None:
            first = y(timing["first"] - timing["intended"])
            shapes.append(f'<line class="answer{warm}" x1="{at}" x2="{at}" y1="{first}" y2="{end}"/>')
            shapes.append(f'<circle class="first{warm}" cx="{at}" cy="{first}" r="2.5"/>')
    spoken = f"{len(timings)} requests over {whole:.0f} s, times to first token and to the end"
    return Markup(
        f'<svg class="load" width="100%" height="{HEIGHT}" role="img" aria-label="{spoken}">{"".join(shapes)}'
        f'<text x="2%" y="{HEIGHT - 4}">0 s</text>'
        f'<text x="98%" y="{HEIGHT - 4}" text-anchor="end">{whole:.0f} s</text></svg>'
    )


def print_load(console: Console, record: Mapping[str, Any]) -> None:
    """The figures of a record's load as a table, for a terminal."""
    for event in (event for event in record["events"] if event["event"] == "load"):
        table = Table(box=None, padding=(0, 1), header_style="dim", show_edge=False)
        table.add_column("ms, from the intended time")
        for column in ("mean", "50 %", "90 %", "99 %", "worst"):
            table.add_column(column, justify="right")
        for name, values in spread_rows(event):
            table.add_row(name, *values)
        console.print()
        console.print(table, highlight=False)
        rates = ", ".join(f"{rate:.4g} {name}" for name, rate in event["rates"].items())
        console.print(f"a second: {rates}; prompt tokens counted by {event['counted_by']}", highlight=False)
