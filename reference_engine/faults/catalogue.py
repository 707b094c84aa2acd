"""What a fault is: an id, where it was reported, what it breaks, and the seams it replaces."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Fault:
    id: str
    reference: str
    """Where it was reported, or what it is an analogue of."""
    summary: str
    invariant: str
    """The statement of the design that it breaks."""
    replaces: Mapping[str, Callable[..., Any]]
    """Field of :class:`Seams`, or of the server's own seams, -> the wrong function."""
    acts_when: str = "always"
    """The settings and inputs without which it changes nothing."""
