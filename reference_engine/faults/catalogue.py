"""What a fault is, and the reports that faults are made from: each is planted, merged with a sibling, or not possible
here.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BOOKS_AND_COSTS = (13, 18)
"""Invariants that no single answer breaks."""
LIST = Path(__file__).with_name("catalogue.toml")


@dataclass(frozen=True)
class Fault:
    id: str
    """The report's, or a name of its own."""
    reference: str
    """Where it was reported, or what it is an analogue of."""
    summary: str
    invariant: str
    """The statement of the design that it breaks, with its number."""
    replaces: Mapping[str, Callable[..., Any]]
    """Field of :class:`Seams`, or of the server's own seams, -> the wrong function."""
    acts_when: str = "always"
    """The inputs without which it changes nothing."""
    toggles: tuple[str, ...] = ()
    """The settings without which it changes nothing, as ``prefix_cache=on``."""
    families: str = "any"
    """The models that it acts in."""
    hardware: str = "any"
    analogue: bool = False
    """Whether the report's own cause is not known, or cannot be had here, and this one has its symptoms."""
    hidden: str = ""
    """Why no caller of a server sees it, whatever is sent; empty where one may."""

    @property
    def invariant_number(self) -> int:
        return int(self.invariant.partition(":")[0])

    @property
    def shows_outside(self) -> bool:
        """Whether a caller of a server who asks for no evidence may see it. Books and costs are judged from inside."""
        return not self.hidden and self.invariant_number not in BOOKS_AND_COSTS


@dataclass(frozen=True)
class Reports:
    """Every report of the catalogue, and what became of those that no fault is named after."""

    ids: tuple[str, ...]
    merged: Mapping[str, str]
    """Report -> the fault that has its mechanism."""
    unplanted: Mapping[str, str]
    """Report -> why it cannot be planted in this engine."""


def read_reports(path: Path = LIST) -> Reports:
    listed = tomllib.loads(path.read_text(encoding="utf-8"))
    ids = tuple(f"{family}-{number}" for family, numbers in listed["reports"].items() for number in numbers)
    return Reports(ids, listed["merged"], listed["unplanted"])
