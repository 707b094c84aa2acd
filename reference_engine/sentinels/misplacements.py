"""What can be put in the wrong place: each fault takes the whole batch of cases, as an engine's batch would be, and
puts one thing wrong in all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from reference_engine.sentinels.architectures.base import Architecture, Trait
from reference_engine.sentinels.architectures.qwen_vision import mrope
from reference_engine.sentinels.cases import Case


def _fit(rows: torch.Tensor, count: int) -> torch.Tensor:
    return rows[torch.arange(count) % len(rows)]


def _others(cases: Sequence[Case]) -> list[Case]:
    """The case that each is paired with: its images have the same shapes."""
    return [cases[i ^ 1 if i ^ 1 < len(cases) else i] for i in range(len(cases))]


def requests_swapped(cases: Sequence[Case]) -> list[Case]:
    pairs = zip(cases, _others(cases), strict=True)
    return [replace(c, rows=_fit(other.rows, len(c.rows))) for c, other in pairs]


def _roll_batch(cases: Sequence[Case], rows_by: Callable[[Case], int]) -> list[Case]:
    """Every request's window over the batch's concatenated rows begins ``rows_by`` rows late, in neighbouring batches
    of 16."""
    out: list[Case] = []
    for start in range(0, len(cases), 16):
        group = cases[start : start + 16]
        rows = torch.cat([c.rows for c in group])
        at = 0
        for c in group:
            out.append(replace(c, rows=rows[(at + rows_by(c) + torch.arange(len(c.rows))) % len(rows)]))
            at += len(c.rows)
    return out


def rows_one_late(cases: Sequence[Case]) -> list[Case]:
    return _roll_batch(cases, lambda _: 1)


def rows_one_early(cases: Sequence[Case]) -> list[Case]:
    return _roll_batch(cases, lambda _: -1)


def rows_one_image_late(cases: Sequence[Case]) -> list[Case]:
    return _roll_batch(cases, lambda c: c.row_counts[0])


def one_dimensional_positions(cases: Sequence[Case]) -> list[Case]:
    return [c.with_positions(np.tile(np.arange(len(c.ids)), (3, 1))) for c in cases]


def _decode_moved(cases: Sequence[Case], by: int | None) -> list[Case]:
    out = []
    for c in cases:
        positions = c.positions.copy()
        if by is None:
            positions[:, c.prompt_length :] = np.arange(c.prompt_length, len(c.ids))
        else:
            positions[:, c.prompt_length :] += by
        out.append(c.with_positions(positions))
    return out


def decode_delta_ignored(cases: Sequence[Case]) -> list[Case]:
    return _decode_moved(cases, None)


def decode_delta_one_more(cases: Sequence[Case]) -> list[Case]:
    return _decode_moved(cases, 1)


def decode_delta_one_less(cases: Sequence[Case]) -> list[Case]:
    return _decode_moved(cases, -1)


def grid_swapped(cases: Sequence[Case]) -> list[Case]:
    swapped = [[(w, h) for h, w in (image.shape for image in c.images)] for c in cases]
    return [c.with_positions(mrope(len(c.ids), c.starts, shapes)) for c, shapes in zip(cases, swapped, strict=True)]


def last_row_dropped(cases: Sequence[Case]) -> list[Case]:
    """The encoder loses each image's last row; the rows after it move up (the last image of the batch takes a zero
    row)."""
    out: list[Case] = []
    for start in range(0, len(cases), 16):
        group = cases[start : start + 16]
        kept = [r for c in group for image in c.rows.split(c.row_counts) for r in image[:-1]]
        rows = torch.stack(kept + [torch.zeros_like(group[0].rows[0])] * sum(len(c.images) for c in group))
        at = 0
        for c in group:
            out.append(replace(c, rows=rows[at : at + len(c.rows)]))
            at += len(c.rows)
    return out


def placeholder_dropped(cases: Sequence[Case]) -> list[Case]:
    """Each image is given one placeholder too few, its last row is cut to fit; the positions of the others stay."""
    out = []
    for c in cases:
        ends = [start + n - 1 for start, n in (spans[-1] for spans in c.spans)]
        ids, rows = np.ones(len(c.ids), bool), np.ones(len(c.rows), bool)
        ids[ends] = False
        rows[[n - 1 for n in c.row_starts[1:]]] = False
        changed = replace(c, ids=c.ids[ids], prompt_length=c.prompt_length - len(ends), positions=c.positions[:, ids])
        out.append(changed.with_rows(np.flatnonzero(rows)))
    return out


def one_images_rows(cases: Sequence[Case]) -> list[Case]:
    """The batch's first image serves for every image, repeated to fit (a cache keyed by too little)."""
    first = cases[0].rows[: cases[0].row_counts[0]]
    return [replace(c, rows=torch.cat([_fit(first, n) for n in c.row_counts])) for c in cases]


def first_images_rows(cases: Sequence[Case]) -> list[Case]:
    """The request's first image serves for all of its images."""
    return [c.with_rows(np.concatenate([np.arange(n) % c.row_counts[0] for n in c.row_counts])) for c in cases]


def images_reversed(cases: Sequence[Case]) -> list[Case]:
    """A request's images change order, their placeholders do not; rows are taken one after the other."""
    out = []
    for c in cases:
        parts = [np.arange(a, b) for a, b in zip(c.row_starts[:-1], c.row_starts[1:], strict=True)]
        out.append(c.with_rows(np.concatenate(parts[::-1])))
    return out


def later_images_one_late(cases: Sequence[Case]) -> list[Case]:
    """Rows of every image but the first begin one row late."""
    return [
        c.with_rows(np.minimum(np.arange(len(c.rows)) + (np.arange(len(c.rows)) >= c.row_counts[0]), len(c.rows) - 1))
        for c in cases
    ]


def chunk_restarts(cases: Sequence[Case], chunk: int = 16) -> list[Case]:
    """Chunked prefill in chunks of 16: in every later chunk an image's rows start again at its first."""
    out = []
    for c in cases:
        order: list[int] = []
        for first, spans in zip(c.row_starts, c.spans, strict=False):
            at = np.concatenate([np.arange(start, start + n) for start, n in spans])
            done = np.searchsorted(at, at // chunk * chunk)  # the image's rows that lie in earlier chunks
            order += (first + np.arange(len(at)) - done).tolist()
        out.append(c.with_rows(order))
    return out


def rows_column_major(cases: Sequence[Case]) -> list[Case]:
    orders = [
        np.concatenate(
            [
                first + np.arange(i.cells).reshape(i.shape).T.ravel()
                for first, i in zip(c.row_starts, c.images, strict=False)
            ]
        )
        for c in cases
    ]
    return [c.with_rows(order) for c, order in zip(cases, orders, strict=True)]


def axes_exchanged(cases: Sequence[Case]) -> list[Case]:
    return [c.with_positions(c.positions[[0, 2, 1]]) for c in cases]


def sections_rotated(cases: Sequence[Case]) -> list[Case]:
    return [c.with_positions(c.positions[[1, 2, 0]]) for c in cases]


def text_after_token_count(cases: Sequence[Case]) -> list[Case]:
    """Text after an image goes on at + h*w instead of + max(h, w)."""
    out = []
    for c in cases:
        positions = c.positions.copy()
        for start, image in zip(c.starts, c.images, strict=True):
            positions[:, start + image.cells :] += image.cells - max(image.shape)
        out.append(c.with_positions(positions))
    return out


def zero_rows(cases: Sequence[Case]) -> list[Case]:
    return [replace(c, rows=torch.zeros_like(c.rows)) for c in cases]


def _deepstack(cases: Sequence[Case], change: Callable[[Case, torch.Tensor], torch.Tensor]) -> list[Case]:
    """``change`` the deepstack rows [R, K - 1, D] of each case; the rows themselves stay."""
    return [replace(c, rows=torch.cat([c.rows[:, :1], change(c, c.rows[:, 1:])], 1)) for c in cases]


def deepstack_left_out(cases: Sequence[Case]) -> list[Case]:
    return _deepstack(cases, lambda _, rows: torch.zeros_like(rows))


def last_deepstack_left_out(cases: Sequence[Case]) -> list[Case]:
    return _deepstack(cases, lambda _, rows: torch.cat([rows[:, :-1], torch.zeros_like(rows[:, -1:])], 1))


def deepstack_layers_reversed(cases: Sequence[Case]) -> list[Case]:
    return _deepstack(cases, lambda _, rows: rows.flip(1))


def deepstack_one_late(cases: Sequence[Case]) -> list[Case]:
    return _deepstack(cases, lambda _, rows: rows.roll(1, 0))


def deepstack_of_first_image(cases: Sequence[Case]) -> list[Case]:
    """The deepstack rows of a request's first image serve for all of its images."""
    return _deepstack(cases, lambda c, rows: torch.cat([_fit(rows[: c.row_counts[0]], n) for n in c.row_counts]))


def deepstack_swapped(cases: Sequence[Case]) -> list[Case]:
    """Two requests' deepstack rows change places; their rows do not."""
    other = {id(c): o for c, o in zip(cases, _others(cases), strict=True)}
    return _deepstack(cases, lambda c, rows: _fit(other[id(c)].rows[:, 1:], len(rows)))


def _reorder_spans(cases: Sequence[Case], order: Callable[[int], Sequence[int]]) -> list[Case]:
    """An image's spans are filled in the order that ``order`` gives for so many spans."""
    out = []
    for c in cases:
        rows: list[int] = []
        for first, spans in zip(c.row_starts, c.spans, strict=False):
            starts = first + np.cumsum([0, *(n for _, n in spans)])
            for source, (_, n) in zip(order(len(spans)), spans, strict=True):
                rows += (starts[source] + np.arange(n)).tolist()
        out.append(c.with_rows(rows))
    return out


def spans_reversed(cases: Sequence[Case]) -> list[Case]:
    return _reorder_spans(cases, lambda n: range(n - 1, -1, -1))


def thumbnail_first(cases: Sequence[Case]) -> list[Case]:
    return _reorder_spans(cases, lambda n: [n - 1, *range(n - 1)])


def tiles_exchanged(cases: Sequence[Case]) -> list[Case]:
    return _reorder_spans(cases, lambda n: [1, 0, *range(2, n)])


def first_span_for_all(cases: Sequence[Case]) -> list[Case]:
    return _reorder_spans(cases, lambda n: [0] * n)


def later_spans_one_late(cases: Sequence[Case]) -> list[Case]:
    """Rows of every span of an image but its first begin one row late."""
    out = []
    for c in cases:
        order = np.concatenate([
            first + np.minimum(np.arange(n) + (np.arange(n) >= spans[0][1]), n - 1)
            for first, n, spans in zip(c.row_starts, c.row_counts, c.spans, strict=False)
        ])  # fmt: skip
        out.append(c.with_rows(order))
    return out


def spans_joined(cases: Sequence[Case]) -> list[Case]:
    """An image is taken to own one span, as long as all of them, from its first placeholder: positions count its rows
    alone, and the tags between tiles share their neighbour's."""
    out = []
    for c in cases:
        is_row = np.zeros(len(c.ids), bool)
        between = np.zeros(len(c.ids), bool)
        for spans in c.spans:
            between[spans[0][0] : sum(spans[-1])] = True
            for start, n in spans:
                is_row[start : start + n] = True
        counts = is_row | ~between
        out.append(c.with_positions(np.tile(np.maximum(np.cumsum(counts) - 1, 0), (3, 1))))
    return out


@dataclass(frozen=True)
class Misplacement:
    name: str
    put_wrong: Callable[[Sequence[Case]], list[Case]]
    required: bool = False
    """Whether it must cost accuracy."""
    needs: Trait | None = None
    """What an architecture must have for this to go wrong."""


MISPLACEMENTS = (
    Misplacement("two requests' embeddings swapped", requests_swapped, required=True),
    Misplacement("rows shifted by one, late", rows_one_late, required=True),
    Misplacement("rows shifted by one, early", rows_one_early, required=True),
    Misplacement("rows shifted by one image", rows_one_image_late, required=True),
    Misplacement("last row dropped, rows after it move up", last_row_dropped, required=True),
    Misplacement("one image's rows for all", one_images_rows, required=True),
    Misplacement("last placeholder and row of each image dropped", placeholder_dropped),
    Misplacement("a request's first image for all of its images", first_images_rows),
    Misplacement("a request's images in reverse order", images_reversed),
    Misplacement("images after the first one row late", later_images_one_late),
    Misplacement("chunks of 16 restart at an image's first row", chunk_restarts),
    Misplacement("rows all zero", zero_rows),
    Misplacement("plain 1-D positions", one_dimensional_positions, required=True, needs="mrope"),
    Misplacement("decode delta ignored", decode_delta_ignored, required=True, needs="mrope"),
    Misplacement("decode delta one too large", decode_delta_one_more, required=True, needs="mrope"),
    Misplacement("decode delta one too small", decode_delta_one_less, required=True, needs="mrope"),
    Misplacement("grid h/w swapped in MRoPE", grid_swapped, required=True, needs="mrope"),
    Misplacement("rows column by column", rows_column_major, needs="mrope"),
    Misplacement("MRoPE h and w axes exchanged", axes_exchanged, needs="mrope"),
    Misplacement("MRoPE sections rotated", sections_rotated, needs="mrope"),
    Misplacement("text after an image goes on at +h*w", text_after_token_count, needs="mrope"),
    Misplacement("deepstack rows left out", deepstack_left_out, required=True, needs="deepstack"),
    Misplacement("last deepstack layer left out", last_deepstack_left_out, required=True, needs="deepstack"),
    Misplacement("deepstack rows one late", deepstack_one_late, required=True, needs="deepstack"),
    Misplacement("two requests' deepstack rows swapped", deepstack_swapped, required=True, needs="deepstack"),
    Misplacement("deepstack rows of a request's first image for all", deepstack_of_first_image, needs="deepstack"),
    Misplacement("deepstack layers in reverse order", deepstack_layers_reversed, needs="deepstack"),
    Misplacement("an image's spans in reverse order", spans_reversed, required=True, needs="spans"),
    Misplacement("thumbnail first, not last", thumbnail_first, required=True, needs="spans"),
    Misplacement("an image's first span for all of its spans", first_span_for_all, required=True, needs="spans"),
    Misplacement("an image's first two tiles exchanged", tiles_exchanged, required=True, needs="spans"),
    Misplacement("spans after an image's first one row late", later_spans_one_late, required=True, needs="spans"),
    Misplacement("positions as if an image's spans were one", spans_joined, needs="spans"),
)


def misplacements_of(architecture: Architecture) -> list[Misplacement]:
    return [m for m in MISPLACEMENTS if m.needs is None or m.needs in architecture.traits]
