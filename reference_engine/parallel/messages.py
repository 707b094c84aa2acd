"""What rank 0 tells the others, through a pipe; tensors of a step follow through the collectives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from reference_engine.attention import Window


@dataclass(frozen=True)
class OpenCache:
    """Make a cache like rank 0's, known by a number from now on."""

    cache: int
    arguments: Mapping[str, Any]


@dataclass(frozen=True)
class ZeroBlocks:
    cache: int
    blocks: Sequence[int]


@dataclass(frozen=True)
class RunStep:
    """One forward pass. Shapes are of the tensors that follow: inputs, positions, and with deepstack mask and rows."""

    cache: int
    windows: Sequence[Window]
    table_BK: Tensor
    """Rank 0's table rows of the windows' lanes."""
    shapes: Sequence[tuple[int, ...]]


Message = OpenCache | ZeroBlocks | RunStep
