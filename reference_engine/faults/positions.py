"""Faults of MRoPE positions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from reference_engine.faults.catalogue import Fault
from reference_engine.multimodal import mrope as clean
from reference_engine.multimodal.placeholders import Grid, Span


def swap_height_and_width(
    length: int, spans: Sequence[Span], grids: Sequence[Grid], merge_size: int, strides: Sequence[float] = ()
) -> tuple[Tensor, int]:
    """Height and width of every grid change places; a square one hides it."""
    return clean.mrope_positions(length, spans, [(t, w, h) for t, h, w in grids], merge_size, strides)


def chunk_without_delta(positions: Tensor, delta: int, start: int, stop: int) -> Tensor:
    """Generated tokens sit at their plain index."""
    return clean.chunk_positions(positions, 0, start, stop)


def decode_without_delta(tokens: Sequence[int], deltas: Sequence[int]) -> Tensor:
    return torch.tensor(tokens).expand(3, -1)


FAULTS = (
    Fault(
        id="mrope-swap-hw",
        reference="analogue of transposed sizes (vllm#45244)",
        summary="MRoPE lays images out with height and width swapped",
        invariant="10: output depends on all three rows of the positions",
        replaces={"mrope_positions": swap_height_and_width},
        acts_when="an image is not square",
    ),
    Fault(
        id="mrope-delta-ignored",
        reference="analogue of stale or dropped rope deltas",
        summary="generated tokens are placed at their index, as if images took one position a token",
        invariant="10: positions belong to the request",
        replaces={"chunk_positions": chunk_without_delta, "decode_positions": decode_without_delta},
        acts_when="the delta is not zero and more than one token is generated",
    ),
)
