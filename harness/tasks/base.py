"""What a task is made of: plain data, and a judge for each answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from PIL import Image


@dataclass(frozen=True)
class Sample:
    name: str
    """Unique within its task."""
    images: Sequence[Image.Image]
    question: str
    expected: str
    """The right answer, as people read it."""
    right: Callable[[str], bool]
    """Whether an answer's text is right."""
    max_new_tokens: int = 16


class Task(Protocol):
    name: str

    def samples(self, count: int | None, seed: int) -> list[Sample]:
        """The same ones for the same arguments; all there are, or some sensible number, for no count."""
        ...
