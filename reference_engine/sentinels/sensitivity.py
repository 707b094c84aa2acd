"""What each kind of misplacement costs in accuracy: the proof that a sentinel sees it.

Each entry of :data:`FAULTS` takes the whole batch of cases, as an engine's batch would be, and puts one thing wrong
in all of them. ``required`` marks those that must cost at least :data:`REQUIRED_LOSS`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from reference_engine.sentinels.cases import Case, answered_right, encode_cases, mrope
from reference_engine.sentinels.training.tower import grid_thw

if TYPE_CHECKING:
    from transformers import Qwen2_5_VLForConditionalGeneration

REQUIRED_LOSS = 0.25
LOW_PRECISION_LOSS = 0.01


@dataclass(frozen=True)
class Figure:
    name: str
    accuracy: float
    cases: int
    required: str = ""
    """Words of the requirement, or empty."""
    met: bool = True


def _fit(rows: torch.Tensor, count: int) -> torch.Tensor:
    return rows[torch.arange(count) % len(rows)]


def requests_swapped(cases: Sequence[Case]) -> list[Case]:
    return [
        replace(c, rows=_fit(cases[i ^ 1 if i ^ 1 < len(cases) else i].rows, len(c.rows))) for i, c in enumerate(cases)
    ]


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
        rows = torch.stack(kept + [torch.zeros(group[0].rows.shape[1])] * sum(len(c.images) for c in group))
        at = 0
        for c in group:
            out.append(replace(c, rows=rows[at : at + len(c.rows)]))
            at += len(c.rows)
    return out


def placeholder_dropped(cases: Sequence[Case]) -> list[Case]:
    """Each image is given one placeholder too few, its last row is cut to fit; the positions of the others stay."""
    out = []
    for c in cases:
        ends = [start + n - 1 for start, n in zip(c.starts, c.row_counts, strict=True)]
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
        order = [
            first + j - max(0, (start + j) // chunk * chunk - start)
            for start, first, n in zip(c.starts, c.row_starts, c.row_counts, strict=False)
            for j in range(n)
        ]
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


Fault = Callable[[Sequence[Case]], list[Case]]
FAULTS: dict[str, tuple[Fault, bool]] = {
    "two requests' embeddings swapped": (requests_swapped, True),
    "rows shifted by one, late": (rows_one_late, True),
    "rows shifted by one, early": (rows_one_early, True),
    "rows shifted by one image": (rows_one_image_late, True),
    "plain 1-D positions": (one_dimensional_positions, True),
    "decode delta ignored": (decode_delta_ignored, True),
    "decode delta one too large": (decode_delta_one_more, True),
    "decode delta one too small": (decode_delta_one_less, True),
    "grid h/w swapped in MRoPE": (grid_swapped, True),
    "last row dropped, rows after it move up": (last_row_dropped, True),
    "one image's rows for all": (one_images_rows, True),
    "last placeholder and row of each image dropped": (placeholder_dropped, False),
    "a request's first image for all of its images": (first_images_rows, False),
    "a request's images in reverse order": (images_reversed, False),
    "images after the first one row late": (later_images_one_late, False),
    "chunks of 16 restart at an image's first row": (chunk_restarts, False),
    "rows column by column": (rows_column_major, False),
    "MRoPE h and w axes exchanged": (axes_exchanged, False),
    "MRoPE sections rotated": (sections_rotated, False),
    "text after an image goes on at +h*w": (text_after_token_count, False),
    "rows all zero": (zero_rows, False),
}


def measure(model: Qwen2_5_VLForConditionalGeneration, cases: Sequence[Case]) -> Iterator[Figure]:
    """The clean figure first, then one a fault, then low precision. ``cases`` come without rows."""
    clean = encode_cases(model, cases)
    base = float(np.mean(answered_right(model, clean)))
    yield Figure("nothing wrong", base, len(clean))
    limit = base - REQUIRED_LOSS
    for name, (fault, required) in FAULTS.items():
        accuracy = float(np.mean(answered_right(model, fault(clean))))
        words = f"at most {limit:.1%}" if required else ""
        yield Figure(name, accuracy, len(clean), words, not required or accuracy <= limit)
    grids = [grid_thw(c.images)[:, [0, 2, 1]] for c in cases]
    accuracy = float(np.mean(answered_right(model, encode_cases(model, cases, grids))))
    yield Figure("grid h/w swapped in the vision tower only", accuracy, len(clean))
    for dtype, required in ((torch.bfloat16, True), (torch.float16, False)):
        low = copy.deepcopy(model).to(dtype)
        accuracy = float(np.mean(answered_right(low, encode_cases(low, cases))))
        met = not required or accuracy > base - LOW_PRECISION_LOSS
        words = f"more than {base - LOW_PRECISION_LOSS:.1%}" if required else ""
        yield Figure(f"whole model in {str(dtype).removeprefix('torch.')}", accuracy, len(clean), words, met)
