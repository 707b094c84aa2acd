"""Fingerprints of an item's rows, for evidence: an exact digest, and a sketch that survives rounding.

Shapes: R rows, D hidden.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor

NO_ROWS = hashlib.sha256(b"").hexdigest()


@dataclass(frozen=True)
class RowPrint:
    """What is kept of an item's rows once the rows are gone."""

    digest: str
    sketch: tuple[float, ...]


def print_rows(rows_RD: Tensor | None) -> RowPrint:
    """Digest and sketch of an item's rows; those of no rows for None."""
    if rows_RD is None:
        return RowPrint(NO_ROWS, ())
    values = rows_RD.float().cpu().contiguous().numpy().astype("<f4")
    return RowPrint(hashlib.sha256(values.tobytes()).hexdigest(), rows_sketch(rows_RD))


def rows_sketch(rows_RD: Tensor) -> tuple[float, ...]:
    """Sums of the rows under four fixed waves over row and column, scaled to the size of one value."""
    if rows_RD.numel() == 0:
        return ()
    rows, width = rows_RD.shape
    places_RD = torch.arange(1, rows + 1, dtype=torch.float64)[:, None] * 0.7548777 + torch.arange(width) * 0.5698403
    waves_4RD = torch.stack([(places_RD * k).cos() for k in (1.0, 3.0, 7.0, 19.0)])
    return tuple(((waves_4RD * rows_RD.double().cpu()).sum(dim=(1, 2)) / rows_RD.numel() ** 0.5).tolist())
