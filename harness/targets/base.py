"""What Assay must know of an engine: how to launch it, ask it, and read its answers. Pure translation, no I/O.

A new engine is one subclass, named in the entry point group ``assay.targets`` (or given as ``module:Class``).
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from harness.errors import Lacking, UsageError
from harness.observation import Observation, Prompt
from harness.toggles import Spelling


@dataclass(frozen=True)
class Launch:
    """What a target is started with: a model, toggle settings, options that are no toggles, and a fault to plant; and
    where: the interpreter that has the engine, the address to listen on (port 0: any free one, told in the log).
    """

    model: str
    toggles: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict)
    plant: str | None = None
    python: str = sys.executable
    host: str = "127.0.0.1"
    port: int = 0


@dataclass(frozen=True)
class LaunchLine:
    """A command and the variables that it adds to the environment."""

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Call:
    """One HTTP request body for ``path``."""

    path: str
    body: Mapping[str, Any]


@dataclass(frozen=True)
class StreamEvent:
    """What one streamed event says: counts so far, where the target gives them."""

    completion_tokens: int | None = None
    prompt_tokens: int | None = None


class Target(ABC):
    name: ClassVar[str]
    spellings: ClassVar[Mapping[str, Spelling]]
    """How each toggle is told to this target."""
    unsupported: ClassVar[Mapping[str, str]] = {}
    """Toggles that this target does not have -> since or until which version, and why."""
    health_path: ClassVar[str] = "/health"
    info_path: ClassVar[str | None] = None
    """Where the running target describes itself, as JSON."""

    @abstractmethod
    def launch_line(self, launch: Launch) -> LaunchLine: ...

    @abstractmethod
    def ready_url(self, log: str) -> str | None:
        """The address that a starting target has announced in its log, if it has."""

    @abstractmethod
    def call(self, prompt: Prompt, *, evidence: bool, stream: bool) -> Call: ...

    @abstractmethod
    def read(self, prompt: Prompt, setting: str, status: int, body: Any) -> Observation:
        """An answer, whatever its status. Fields that the target does not give stay empty."""

    @abstractmethod
    def read_event(self, event: Mapping[str, Any]) -> StreamEvent: ...

    def read_stream(self, prompt: Prompt, setting: str, events: Sequence[Mapping[str, Any]]) -> Observation:
        """What the events of one stream add up to. Raises :class:`Lacking` where an adapter does not have it."""
        raise Lacking(f"target {self.name} puts no streams together")

    def with_choices(self, call: Call, n: int) -> Call:
        """``call`` asking for ``n`` answers to its prompt. Raises :class:`Lacking` where an adapter cannot."""
        raise Lacking(f"target {self.name} asks for one answer at a time")

    def read_choices(self, prompt: Prompt, setting: str, status: int, body: Any) -> list[Observation]:
        """The answers to such a call, in order."""
        return [self.read(prompt, setting, status, body)]

    def spell(self, toggles: Mapping[str, str]) -> tuple[list[str], dict[str, str]]:
        """Flags and environment for ``toggles``. Raises :class:`UsageError` for one that the target does not have."""
        flags: list[str] = []
        env: dict[str, str] = {}
        for name, setting in toggles.items():
            if name not in self.spellings:
                reason = self.unsupported.get(name, "not known to this target")
                raise UsageError(f"target {self.name} does not support toggle {name}: {reason}")
            more_flags, more_env = self.spellings[name].spell(setting)
            flags += more_flags
            env |= more_env
        return flags, env
