"""Plots as inline SVG in percent and pixels: they stretch with the page, their text does not shrink."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

HEIGHT = 46
MIDDLE = 20


@dataclass(frozen=True)
class RatioRow:
    """One ratio with its interval, ready to be shown."""

    label: str
    reading: str
    status: str
    svg: Markup


@dataclass(frozen=True)
class Axis:
    """Ratios from ``1 / reach`` to ``reach`` as percent of the width, on a logarithmic scale with 1 in the middle."""

    reach: float

    def at(self, ratio: float) -> float:
        inside = min(max(ratio, 1 / self.reach), self.reach)
        return round(50 + 50 * math.log(inside) / math.log(self.reach), 2)


def ratio_rows(verdicts: Sequence[Mapping[str, Any]]) -> list[RatioRow]:
    """Every verdict that carries a ratio, on one axis."""
    measured = [verdict for verdict in verdicts if "ratio" in verdict["evidence"]]
    axis = _axis(measured)
    return [_row(verdict, axis) for verdict in measured]


def _axis(verdicts: Sequence[Mapping[str, Any]]) -> Axis:
    values = [1.0, *(verdict["threshold"] for verdict in verdicts)]
    values += [verdict["evidence"]["ratio"][bound] for verdict in verdicts for bound in ("low", "high")]
    return Axis(1.1 * max(1.4, *values, *(1 / value for value in values if value > 0)))


def _row(verdict: Mapping[str, Any], axis: Axis) -> RatioRow:
    evidence = verdict["evidence"]
    first, second = evidence["settings"]
    ratio = evidence["ratio"]
    limit = axis.at(verdict["threshold"])
    worse = (0.0, limit) if evidence["higher_is_better"] else (limit, 100.0 - limit)
    pairs = zip(evidence["rounds"][first], evidence["rounds"][second], strict=False)
    dots = "".join(_dot(axis.at(b / a), number) for number, (a, b) in enumerate(pairs) if a)
    low, high, value = axis.at(ratio["low"]), axis.at(ratio["high"]), axis.at(ratio["value"])
    anchor = "end" if evidence["higher_is_better"] else "start"
    one, floor = axis.at(1.0), MIDDLE + 10
    better = "more is better" if evidence["higher_is_better"] else "less is better"
    spoken = f"{verdict['check']}: {ratio['value']:.2f}, interval {ratio['low']:.2f} to {ratio['high']:.2f}"
    label = Markup.escape(spoken)
    svg = (
        f'<svg class="ratio {verdict["status"]}" width="100%" height="{HEIGHT}" role="img" aria-label="{label}">'
        f'<rect class="worse" x="{worse[0]}%" y="2" width="{worse[1]}%" height="{floor - 2}"/>'
        f'<line class="limit" x1="{limit}%" x2="{limit}%" y1="2" y2="{floor}"/>'
        f'<line class="one" x1="{one}%" x2="{one}%" y1="2" y2="{floor}"/>{dots}'
        f'<line class="interval" x1="{low}%" x2="{high}%" y1="{MIDDLE - 4}" y2="{MIDDLE - 4}"/>'
        f'<circle class="value" cx="{value}%" cy="{MIDDLE - 4}" r="5"/>'
        f'<text x="{one}%" y="{HEIGHT - 3}" text-anchor="middle">1</text>'
        f'<text x="{limit}%" y="{HEIGHT - 3}" text-anchor="{anchor}">limit {verdict["threshold"]:g}</text></svg>'
    )
    reading = f"{ratio['value']:.2f}  [{ratio['low']:.2f}, {ratio['high']:.2f}]"
    return RatioRow(f"{verdict['check']} ({better})", reading, verdict["status"], Markup(svg))


def _dot(x: float, number: int) -> str:
    return f'<circle class="round" cx="{x}%" cy="{MIDDLE + 5 + 2 * (number % 3)}" r="2"/>'
