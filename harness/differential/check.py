"""What a check on engines in this process is."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from harness.differential.bench import Bench


@dataclass(frozen=True)
class Check:
    name: str
    invariants: tuple[int, ...]
    """Numbers of the design's list."""
    find: Callable[[Bench], Iterable[str]]
