"""The prompt as sent beside the prompt as run, cut into columns that hold the same text in every row.

Pictures are folded: ``image 1 · 12 tokens``. Stretches that are the same everywhere fold into one column.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import groupby, pairwise
from typing import Any

from harness.checks.identity import Placeholders, extent
from harness.observation import ItemSeen


@dataclass(frozen=True)
class Chip:
    """One token, or one folded picture (``id`` is None)."""

    text: str
    id: int | None = None

    @property
    def key(self) -> str:
        return f"image {self.text}" if self.id is None else str(self.id)


@dataclass(frozen=True)
class Column:
    """The chips of each row that stand for the same piece of the prompt; ``folded`` counts a stretch left out."""

    rows: tuple[tuple[Chip, ...], ...] = ()
    folded: int = 0

    @property
    def same(self) -> bool:
        return all([chip.key for chip in row] == [chip.key for chip in self.rows[0]] for row in self.rows)

    @property
    def holds_picture(self) -> bool:
        return any(chip.id is None for row in self.rows for chip in row)


def chips_sent(ids: Sequence[int], placeholder: int, texts: Mapping[int, str]) -> list[Chip]:
    chips: list[Chip] = []
    pictures = 0
    for token in ids:
        pictures += token == placeholder
        chips.append(Chip(str(pictures)) if token == placeholder else Chip(texts.get(token, f"#{token}"), token))
    return chips


def chips_run(
    ids: Sequence[int],
    items: Sequence[ItemSeen],
    placeholders: Placeholders,
    texts: Mapping[int, str],
    written: Sequence[Sequence[int]] = (),
) -> list[Chip]:
    """As :func:`chips_sent`, with each picture's whole stretch, what is written around and between its spans included,
    as one chip.
    """
    chips: list[Chip] = []
    position = 0
    for number, item in enumerate(items, start=1):
        first, last = extent(item, written[number - 1] if written else [placeholders.id], placeholders.id)
        chips += [Chip(texts.get(token, f"#{token}"), token) for token in ids[position:first]]
        chips.append(Chip(str(number)))
        position = last + 1
    return chips + [Chip(texts.get(token, f"#{token}"), token) for token in ids[position:]]


def columns(sent: Sequence[Chip], runs: Sequence[Sequence[Chip]]) -> list[Column]:
    """Columns of ``sent`` and every run, cut wherever all of them are in step."""
    steps = [_in_step(sent, run) for run in runs]
    cuts = [0, *(place for place in range(1, len(sent)) if all(place in step for step in steps)), len(sent)]
    found = [
        Column((tuple(sent[a:b]), *(tuple(run[step[a] : step[b]]) for run, step in zip(runs, steps, strict=True))))
        for a, b in pairwise(cuts)
    ]
    return fold(found)


def _in_step(sent: Sequence[Chip], run: Sequence[Chip]) -> dict[int, int]:
    """Places of ``sent`` between two chips -> the place of ``run`` that they stand at."""
    matcher = SequenceMatcher(None, [chip.key for chip in sent], [chip.key for chip in run], autojunk=False)
    step = {0: 0}
    for tag, a, b, c, d in matcher.get_opcodes():
        for offset in range(b - a if tag == "equal" else 1):
            step.setdefault(a + offset, c + offset)
        if tag != "insert":
            step.setdefault(b, d)
    step[len(sent)] = len(run)
    return step


def fold(found: Sequence[Column]) -> list[Column]:
    """Stretches that are the same in every row as one column each; differences, their neighbours and pictures stay."""
    differing = {place for place, column in enumerate(found) if not column.same}
    shown = {place + step for place in differing for step in (-1, 0, 1)}
    shown |= {place for place, column in enumerate(found) if column.holds_picture}
    result: list[Column] = []
    for hidden, stretch in groupby(range(len(found)), lambda place: place not in shown):
        places = list(stretch)
        folds = hidden and len(places) > 1
        result += [Column(folded=len(places))] if folds else [found[place] for place in places]
    return result


def items_of(answer: Mapping[str, Any]) -> list[ItemSeen]:
    """The pictures of a recorded answer."""
    return [ItemSeen(item["item"], tuple((a, b) for a, b in item["spans"]), None) for item in answer["items"]]
