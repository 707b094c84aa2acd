"""MRoPE positions of Qwen2-VL's kind: three rows (time, height, width), computed from spans and grids, never from
token ids.

Text counts up in all three rows alike. An image's tokens take their place in the grid; the text after it goes on from
the larger side of the grid, so a prompt uses fewer positions than tokens. ``delta`` is that difference (zero or
negative): token ``i`` past the prompt sits at ``i + delta`` in every row.

A generated token goes where it would stand if the prompt were longer by it. For images that is one past the largest
position; a video placed by time may reach further than the text behind it, and there the two differ (transformers'
``generate`` goes on from the last token too, its ``rope_deltas`` are counted from the largest).

Everything here belongs to one request; nothing is kept between calls.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor

from reference_engine.multimodal.placeholders import Grid, Span, span_tokens


def mrope_positions(
    length: int, spans: Sequence[Span], grids: Sequence[Grid], merge_size: int, strides: Sequence[float] = ()
) -> tuple[Tensor, int]:
    """Positions int64 [3, length] and the delta; spans in order. ``strides`` are the positions between two frames of
    each span, 1 where none are given. ``ValueError`` where a span disagrees with its grid.
    """
    positions = torch.empty(3, length, dtype=torch.int64)
    token = position = 0
    for (start, end), grid, stride in zip(spans, grids, strides or [1.0] * len(grids), strict=True):
        if start < token or end - start + 1 != span_tokens(grid, merge_size):
            raise ValueError(f"span {(start, end)} does not fit grid {grid} after token {token}")
        positions[:, token:start] = torch.arange(position, position + start - token)
        position += start - token
        positions[:, start : end + 1] = position + grid_positions(grid, merge_size, stride)
        position = int(positions[:, start : end + 1].max()) + 1
        token = end + 1
    positions[:, token:] = torch.arange(position, position + length - token)
    return positions, position - token


def plain_positions(length: int) -> Tensor:
    """Positions of a family without MRoPE, int64 [3, length]: every row counts tokens."""
    return torch.arange(length).expand(3, -1)


def grid_positions(grid: Grid, merge_size: int, stride: float = 1.0) -> Tensor:
    """Place of every token within its image or video, int64 [3, tokens]."""
    t, h, w = grid[0], grid[1] // merge_size, grid[2] // merge_size
    times = (torch.arange(t) * stride).long()
    axes = torch.meshgrid(times, torch.arange(h), torch.arange(w), indexing="ij")
    return torch.stack(axes).reshape(3, -1)


def chunk_positions(positions: Tensor, delta: int, start: int, stop: int) -> Tensor:
    """Positions int64 [3, stop - start] of tokens ``start`` to ``stop - 1``, which may lie past the prompt."""
    length = positions.shape[1]
    beyond = torch.arange(max(start, length), max(stop, length)) + delta
    return torch.cat([positions[:, start:stop], beyond.expand(3, -1)], dim=1)


def decode_positions(tokens: Sequence[int], deltas: Sequence[int]) -> Tensor:
    """Positions int64 [3, requests] of one generated token each, from its index and delta in its own request."""
    return (torch.tensor(tokens) + torch.tensor(deltas)).expand(3, -1)


def positions_digest(positions_3L: Tensor) -> str:
    """SHA-256 of the numbers as int64, little endian, row by row; hex."""
    numbers = positions_3L.to(torch.int64).contiguous().numpy()
    return hashlib.sha256(numbers.astype("<i8").tobytes()).hexdigest()
