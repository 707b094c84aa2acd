"""Placeholders: how many tokens an image is, where they go in the prompt, and how to take them out again.

A caller's ids hold ONE placeholder an image. The model needs as many as the encoder returns rows, so each placeholder
is replaced by its item's *replacement*: the placeholder id repeated, in one run or (for sliced images) several runs
with separators between. Where the runs went is recorded; nothing later looks for placeholder ids again, because a
model may sample that id and a user may type it.

Pure functions on lists: nothing here tokenizes, pads or truncates. A span is ``(first, last)``, both inclusive. Sizes
are (width, height), as PIL gives them; grids are (t, h, w) in patches, before merging.

>>> expand_input_ids([7, 9, 8], 9, [[9, 9, 9]])
Expansion(ids=[7, 9, 9, 9, 8], spans=[[(1, 3)]])
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from reference_engine.errors import RequestError

Span = tuple[int, int]
Size = tuple[int, int]
Grid = tuple[int, int, int]


@dataclass(frozen=True)
class Expansion:
    """Ids as run, and for every item the spans its rows will fill."""

    ids: list[int]
    spans: list[list[Span]]


class GridMaker(Protocol):
    """The part of a model family that counting needs."""

    @property
    def merge_size(self) -> int: ...

    def grids(self, size: Size) -> list[Grid]:
        """One grid a span."""


def span_tokens(grid: Grid, merge_size: int) -> int:
    """Tokens of one grid: ``merge_size`` x ``merge_size`` patches become one."""
    t, h, w = grid
    return t * h * w // merge_size**2


def resolve_image_token_counts(family: GridMaker, sizes: Sequence[Size]) -> list[list[int]]:
    """Per item, the tokens of each of its spans; from sizes alone, before any pixel is touched."""
    return [[span_tokens(grid, family.merge_size) for grid in family.grids(size)] for size in sizes]


def expand_input_ids(
    ids: Sequence[int], placeholder_id: int, replacements: Sequence[Sequence[int]], *, field: str = "input_ids"
) -> Expansion:
    """Replace the k-th placeholder by the k-th replacement; ids that are fully expanded already stay as they are.

    Raises :class:`RequestError` (422) naming both counts when the ids hold neither one placeholder an item nor all.
    """
    spans = _spans_if_expanded(ids, placeholder_id, replacements)
    if spans is not None:
        return Expansion(list(ids), spans)
    found = sum(1 for token in ids if token == placeholder_id)
    if found != len(replacements):
        raise placeholder_mismatch(field, found, [_count(r, placeholder_id) for r in replacements])
    return _splice(ids, placeholder_id, replacements)


def contract_input_ids(
    ids: Sequence[int], spans: Sequence[Sequence[Span]], replacements: Sequence[Sequence[int]], placeholder_id: int
) -> list[int]:
    """:func:`expand_input_ids` undone: the ids sent. ``ValueError`` if a replacement is not where its spans say."""
    sent: list[int] = []
    done = 0
    for item, (item_spans, replacement) in enumerate(zip(spans, replacements, strict=True)):
        start = item_spans[0][0] - list(replacement).index(placeholder_id)
        stop = start + len(replacement)
        if start < done or list(ids[start:stop]) != list(replacement):
            raise ValueError(f"item {item}: positions {start} to {stop - 1} do not hold its replacement")
        sent += [*ids[done:start], placeholder_id]
        done = stop
    return sent + list(ids[done:])


def item_offsets(
    ids: Sequence[int], placeholder_id: int, counts: Sequence[Sequence[int]], *, field: str = "input_ids"
) -> list[list[Span]]:
    """Each item's spans in expanded ids, cut by count, so that images with nothing between them stay apart.

    Raises :class:`RequestError` (422) naming both counts unless the placeholders are exactly those of ``counts``.
    """
    places = [place for place, token in enumerate(ids) if token == placeholder_id]
    mismatch = placeholder_mismatch(field, len(places), [sum(c) for c in counts])
    if len(places) != sum(map(sum, counts)):
        raise mismatch
    queue = iter(places)
    runs = [[[next(queue) for _ in range(count)] for count in item] for item in counts]
    if any(run[-1] - run[0] != len(run) - 1 for item in runs for run in item):
        raise mismatch
    return [[(run[0], run[-1]) for run in item] for item in runs]


def build_padded_input_ids(ids: Sequence[int], items: Sequence[tuple[Sequence[Span], int]]) -> list[int]:
    """Ids with every span overwritten by its item's own value, as prefix caches key them (sglang#26116)."""
    padded = list(ids)
    for spans, value in items:
        for start, end in spans:
            padded[start : end + 1] = [value] * (end - start + 1)
    return padded


def placeholder_mismatch(field: str, found: int, counts: Sequence[int]) -> RequestError:
    """The one refusal for a prompt whose placeholders do not match its images."""
    message = f"holds {found} image placeholder(s) but the request has {len(counts)} image(s)"
    if counts:
        message += (
            f"; expected one an image, or {sum(counts)} = {' + '.join(map(str, counts))} for images expanded already"
        )
    return RequestError(field, message, status=422)


def _count(ids: Sequence[int], placeholder_id: int) -> int:
    return sum(1 for token in ids if token == placeholder_id)


def placeholder_runs(ids: Sequence[int], placeholder_id: int) -> list[Span]:
    """Every maximal run of the placeholder id."""
    runs: list[Span] = []
    for place, token in enumerate(ids):
        if token != placeholder_id:
            continue
        if runs and runs[-1][1] == place - 1:
            runs[-1] = (runs[-1][0], place)
        else:
            runs.append((place, place))
    return runs


def _splice(ids: Sequence[int], placeholder_id: int, replacements: Sequence[Sequence[int]]) -> Expansion:
    expanded: list[int] = []
    spans: list[list[Span]] = []
    queue = iter(replacements)
    for token in ids:
        if token != placeholder_id:
            expanded.append(token)
            continue
        replacement = next(queue)
        spans.append(_shift(placeholder_runs(replacement, placeholder_id), len(expanded)))
        expanded += replacement
    return Expansion(expanded, spans)


def _spans_if_expanded(
    ids: Sequence[int], placeholder_id: int, replacements: Sequence[Sequence[int]]
) -> list[list[Span]] | None:
    """The items' spans if the ids hold every replacement in full, in order, and no other placeholder; else None."""
    if _count(ids, placeholder_id) != sum(_count(r, placeholder_id) for r in replacements):
        return None
    spans: list[list[Span]] = []
    done = 0
    ids = list(ids)
    for replacement in replacements:
        start = ids.index(placeholder_id, done) - list(replacement).index(placeholder_id)
        stop = start + len(replacement)
        if start < done or ids[start:stop] != list(replacement):
            return None
        spans.append(_shift(placeholder_runs(replacement, placeholder_id), start))
        done = stop
    return spans


def _shift(spans: Sequence[Span], by: int) -> list[Span]:
    return [(start + by, end + by) for start, end in spans]
