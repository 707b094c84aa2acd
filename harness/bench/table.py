"""The benchmark's results as text, as Markdown, as a page and as JSON: ratios of medians with bootstrap intervals.

A ratio is another contestant's time over the first one's: above 1, the first is faster. It is computed over rounds that
both played, and its interval resamples whole rounds. No contestant with other answers has a ratio.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from harness.bench.contest import EntryResult, SeatResult
from harness.stats import Ratio, judge_ratio, paired_ratio
from harness.verdict import Status

REACHED: Mapping[str, str] = {"not_regressed": "reached", "regressed": "missed", "inconclusive": "cannot tell"}
STATUSES: Mapping[str, Status] = {
    "reached": "pass",
    "missed": "fail",
    "cannot tell": "cannot_tell",
    "": "not_exercised",
}
LEAST_ROUNDS = 2


@dataclass(frozen=True)
class Row:
    """One contestant of one entry, ready to be shown. Cells that have no figure say why, or nothing."""

    entry: str
    contestant: str
    median: float | None
    """Of the entry's figure, seconds."""
    ratio: Ratio | None
    wall: Ratio | None
    """The same ratio of wall time."""
    goal: float | None
    outcome: str
    note: str


def rows(result: EntryResult) -> list[Row]:
    first = result.seats[0]
    return [_row(result, first, one) for one in result.seats]


def _row(result: EntryResult, first: SeatResult, one: SeatResult) -> Row:
    figure = result.entry.figure
    values = [found[figure] for found in one.rounds.values() if figure in found]
    ratio, wall = (None, None) if one is first else (ratio_of(first, one, figure), ratio_of(first, one, "seconds"))
    goal = one.seat.goal
    outcome = "" if ratio is None or goal is None else REACHED[judge_ratio(ratio, goal, higher_is_better=True)]
    note = one.note if one.status == "timed" else f"{one.status}: {one.note}"
    return Row(result.entry.name, one.seat.name, median(values) if values else None, ratio, wall, goal, outcome, note)


def ratio_of(first: SeatResult, other: SeatResult, figure: str) -> Ratio | None:
    """``other``'s figure over ``first``'s; None with fewer than two rounds that both have it."""
    numbers = [n for n in first.rounds if n in other.rounds and figure in first.rounds[n] and figure in other.rounds[n]]
    if len(numbers) < LEAST_ROUNDS:
        return None
    return paired_ratio([first.rounds[n][figure] for n in numbers], [other.rounds[n][figure] for n in numbers])


def markdown(results: Sequence[EntryResult], environment: Mapping[str, Any], measures: Mapping[str, Any]) -> str:
    return "\n".join([*_head(environment), *(line for r in results for line in _entry(r)), *_measures(measures)]) + "\n"


def _head(environment: Mapping[str, Any]) -> Iterator[str]:
    yield "# Benchmark\n"
    yield (
        "Medians and ratios of medians over interleaved rounds, with 95 % bootstrap intervals. A ratio is that "
        "contestant's time over the first one's: above 1, the first is faster. All answers were compared token for "
        "token with transformers' `generate`.\n"
    )
    yield from (f"- {name}: {_words(value)}" for name, value in environment.items())


def _entry(result: EntryResult) -> Iterator[str]:
    entry = result.entry
    yield f"\n## {entry.name}: {entry.title}\n"
    arriving = f"Poisson, {result.rate:g} a second" if result.rate else "all at once"
    yield (
        f"{entry.model}, {entry.device}, {entry.dtype}; {entry.workload.describe()}; played {result.requests} "
        f"requests, {result.new_tokens} new tokens, arrivals {arriving}; {result.seconds:.0f} s in all.\n"
    )
    if result.note:
        yield f"{result.note}\n"
    yield f"| contestant | median {_unit(entry.figure)} | ratio | ratio, wall | goal | | rounds | answers |"
    yield "|---|---|---|---|---|---|---|---|"
    for row, one in zip(rows(result), result.seats, strict=True):
        cells = (
            row.contestant, _seconds(row.median), interval(row.ratio), interval(row.wall),
            "" if row.goal is None else f"{row.goal:g}", row.outcome, str(len(one.rounds)), row.note.replace("|", "/"),
        )  # fmt: skip
        yield f"| {' | '.join(cells)} |"
    loads = [found["load"] for one in result.seats for found in one.rounds.values()]
    if loads:
        yield f"\nLoad average of the machine while it ran: {min(loads):.1f} to {max(loads):.1f}."
    for one in result.seats:
        if one.about:
            yield f"- {one.seat.name}: {_words(one.about)}{_options(one)}"


def _measures(measures: Mapping[str, Any]) -> Iterator[str]:
    for name, measured in measures.items():
        yield f"\n## {name}\n"
        yield from (f"- {key}: {_words(value)}" for key, value in measured.items())


def _options(one: SeatResult) -> str:
    return f"; {_words(one.seat.options)}" if one.seat.options else ""


def _words(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_words(inner)}" for name, inner in value.items())
    if isinstance(value, float):
        return f"{value:.4g}"
    return ", ".join(map(_words, value)) if isinstance(value, list | tuple) else str(value)


def _unit(figure: str) -> str:
    return {"seconds": "wall s", "cpu_seconds": "CPU s", "encoder_seconds": "encoder s"}[figure]


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def interval(ratio: Ratio | None) -> str:
    return "" if ratio is None else f"{ratio.value:.2f} [{ratio.low:.2f}, {ratio.high:.2f}]"


def as_json(results: Sequence[EntryResult], environment: Mapping[str, Any], measures: Mapping[str, Any]) -> str:
    entries = [asdict(result) | {"rows": [asdict(row) for row in rows(result)]} for result in results]
    whole = {"schema": 1, "environment": dict(environment), "entries": entries, "measures": dict(measures)}
    return json.dumps(whole, indent=1, ensure_ascii=False) + "\n"


def chart_verdicts(results: Sequence[EntryResult]) -> list[dict[str, Any]]:
    """Every ratio as :func:`harness.report.charts.ratio_rows` wants it."""
    found = []
    for result in results:
        first = result.seats[0]
        for row, one in zip(rows(result), result.seats, strict=True):
            if row.ratio is None:
                continue
            names = [first.seat.name, one.seat.name]
            numbers = [n for n in first.rounds if n in one.rounds]
            figure = result.entry.figure
            rounds = {s.seat.name: [s.rounds[n][figure] for n in numbers] for s in (first, one)}
            found.append({
                "check": f"{result.entry.name}: {one.seat.name} / {first.seat.name}",
                "status": STATUSES[row.outcome], "threshold": row.goal or 1.0,
                "evidence": {
                    "settings": names, "ratio": asdict(row.ratio), "rounds": rounds, "higher_is_better": True,
                },
            })  # fmt: skip
    return found
