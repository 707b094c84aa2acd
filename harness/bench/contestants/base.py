"""What every contestant is told and must tell. Standard library only: it is imported in every contestant's environment.

Times are seconds of this process's monotonic clock, from the moment the round begins.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from harness.observation import Prompt
from harness.surroundings import versions_of

IDLE_SECONDS = 0.002


@dataclass(frozen=True)
class Setup:
    """What a contestant loads."""

    model: str
    """A checkpoint directory."""
    device: str = "cpu"
    dtype: str = "float32"
    threads: int = 1
    options: Mapping[str, Any] = field(default_factory=dict)
    """Settings of that contestant alone; for the reference engine, fields of its configuration."""


@dataclass(frozen=True)
class Answered:
    """One request's answer. ``ids`` is None where a server gives text only."""

    name: str
    ids: tuple[int, ...] | None
    seconds: float
    """From arrival to the end of the answer."""
    text: str | None = None
    error: str | None = None


@dataclass(frozen=True)
class Played:
    """One round of one contestant."""

    answers: tuple[Answered, ...]
    seconds: float
    """From the beginning to the end of the last answer."""
    cpu_seconds: float | None
    """Processor time of whatever computed the answers, all threads and processes; None where it cannot be read."""
    figures: Mapping[str, float] = field(default_factory=dict)
    """What only this contestant can tell of itself, such as ``encoder_seconds``."""


class Door:
    """Lets requests in at their moments. ``arrivals`` are seconds, ascending, one a prompt."""

    def __init__(self, prompts: Sequence[Prompt], arrivals: Sequence[float]) -> None:
        self._coming = sorted(zip(arrivals, prompts, strict=True), key=lambda pair: pair[0])[::-1]
        self._arrivals = {prompt.name: at for at, prompt in self._coming}
        self._answered: list[Answered] = []
        self._began = time.perf_counter()

    @property
    def now(self) -> float:
        return time.perf_counter() - self._began

    @property
    def is_open(self) -> bool:
        """Whether more will come."""
        return bool(self._coming)

    def arrived(self, most: int | None = None) -> list[Prompt]:
        """Those that have come since the last call, in order."""
        found: list[Prompt] = []
        while self._coming and self._coming[-1][0] <= self.now and (most is None or len(found) < most):
            found.append(self._coming.pop()[1])
        return found

    def wait(self) -> None:
        """Sleep until the next one comes."""
        if self._coming:
            time.sleep(max(0.0, self._coming[-1][0] - self.now))

    def answer(self, name: str, ids: Sequence[int] | None, text: str | None = None, error: str | None = None) -> None:
        given = None if ids is None else tuple(ids)
        self._answered.append(Answered(name, given, self.now - self._arrivals[name], text, error))

    @property
    def answers(self) -> tuple[Answered, ...]:
        return tuple(self._answered)


class Contestant(ABC):
    """A loaded model that answers requests. One round at a time."""

    packages: ClassVar[tuple[str, ...]] = ("torch", "transformers")
    """Whose versions are reported."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup

    @abstractmethod
    def serve(self, door: Door) -> None:
        """Answer everything that comes through the door."""

    def prepare(self, prompts: Sequence[Prompt]) -> None:  # noqa: B027
        """What a client would do before the round, such as opening image files. Not timed."""

    def cpu_seconds(self) -> float | None:
        """Processor time spent so far."""
        return time.process_time()

    def figures(self) -> dict[str, float]:
        """Running totals of this contestant's own."""
        return {}

    def close(self) -> None:  # noqa: B027
        """End what was started."""

    def play(self, prompts: Sequence[Prompt], arrivals: Sequence[float]) -> Played:
        self.prepare(prompts)
        before, cpu = self.figures(), self.cpu_seconds()
        door = Door(prompts, arrivals)
        self.serve(door)
        seconds, after, cpu_after = door.now, self.figures(), self.cpu_seconds()
        spent = None if cpu is None or cpu_after is None else cpu_after - cpu
        return Played(door.answers, seconds, spent, {name: after[name] - before[name] for name in after})

    def describe(self) -> dict[str, str]:
        """Versions, and the threads that its arithmetic really uses."""
        import torch

        return {"threads": str(torch.get_num_threads())} | versions_of(self.packages)
