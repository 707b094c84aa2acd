"""What Assay must know of an engine: how to launch it, ask it, and read its answers. Pure translation, no I/O.

A new engine is one subclass, named in the entry point group ``assay.targets`` (or given as ``module:Class``). What it
cannot do is said by name: toggles in ``unsupported``, evidence in ``lacks``. Nothing is guessed in their place.
"""

from __future__ import annotations

import base64
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from harness.errors import Lacking, UsageError
from harness.observation import Evidence, Observation, Prompt
from harness.toggles import Spelling

if TYPE_CHECKING:
    import numpy as np


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
    engine_args: tuple[str, ...] = ()
    """The caller's own, as they are, after all others."""


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


@dataclass(frozen=True)
class Tensor:
    """Numbers as a request may carry them: little endian, the last axis fastest."""

    dtype: str
    shape: tuple[int, ...]
    data: bytes

    @classmethod
    def of(cls, numbers: np.ndarray) -> Tensor:
        little = numbers.astype(numbers.dtype.newbyteorder("<"), copy=False)
        return cls(str(numbers.dtype), numbers.shape, little.tobytes())

    @property
    def on_the_wire(self) -> dict[str, Any]:
        """As the reference engine's ``/generate`` takes it."""
        return {"dtype": self.dtype, "shape": list(self.shape), "data": base64.b64encode(self.data).decode()}


class Target(ABC):
    name: ClassVar[str]
    spellings: ClassVar[Mapping[str, Spelling]]
    """How each toggle is told to this target."""
    unsupported: ClassVar[Mapping[str, str]] = {}
    """Toggles that this target does not have -> since or until which version, and why."""
    lacks: ClassVar[Mapping[Evidence, str]] = {}
    """What its answers never tell, or it never takes -> why."""
    distributions: ClassVar[tuple[str, ...]] = ()
    """Names under which the engine is installed, the likeliest first."""
    side_by_side: ClassVar[bool] = True
    """Whether two of it fit on a machine; else settings that are compared run one after the other."""
    startup_seconds: ClassVar[float] = 90.0
    """How long it may take to be ready, where the caller does not say."""
    takes_clips: ClassVar[bool] = False
    """Whether its calls carry a prompt's videos."""
    plantable: ClassVar[bool] = False
    """Whether faults of the catalogue can be planted in it."""
    health_path: ClassVar[str] = "/health"
    info_path: ClassVar[str | None] = None
    """Where the running target describes itself, as JSON."""
    metrics_path: ClassVar[str] = "/metrics"
    held: ClassVar[tuple[str, ...]] = ()
    """Gauges on that page that are 0 when nothing runs."""
    version: str = "of unknown version"

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
        raise Lacking(self.unsupported_because("its adapter puts no streams together"))

    def with_scores(self, call: Call) -> Call:
        """``call`` asking how likely each token of the prompt was. Raises :class:`Lacking` where an adapter cannot."""
        raise Lacking(self.unsupported_because("no log-probabilities of prompts"))

    def with_choices(self, call: Call, n: int) -> Call:
        """``call`` asking for ``n`` answers to its prompt. Raises :class:`Lacking` where an adapter cannot."""
        raise Lacking(self.unsupported_because("one answer at a time"))

    def read_choices(self, prompt: Prompt, setting: str, status: int, body: Any) -> list[Observation]:
        """The answers to such a call, in order."""
        return [self.read(prompt, setting, status, body)]

    def chat_of_ids(self, prompt: Prompt, *, choices: int = 1, stream: bool = False, wishes: bool = True) -> Call:
        """A chat call whose prompt is ``prompt.ids``, with its pictures in the messages and its question as text that
        must not count; with ``wishes``, for prompt ids and meta information of every choice (sglang#23751). Raises
        :class:`Lacking` where the engine has no such call.
        """
        raise Lacking(self.unsupported_because("its chat takes no token ids"))

    def with_processor_output(self, call: Call, ids: Sequence[int], tensors: Mapping[str, Tensor]) -> Call:
        """``call`` with what a Hugging Face processor made of it already (sglang#26116): expanded ids, and encoder
        inputs by the processor's names. Raises :class:`Lacking` where no request may carry that.
        """
        raise Lacking(self.unsupported_because("no request carries a processor's output"))

    def learn(self, described: Any) -> None:
        """Take from what the running target says of itself what later requests and verdicts need: its version."""
        if isinstance(described, Mapping) and isinstance(version := described.get("version"), str):
            self.version = version

    def unsupported_because(self, reason: str) -> str:
        """The words in which a check says that it was not exercised for want of something."""
        return f"unsupported by {self.name} {self.version} ({reason})"

    def why_without(self, toggle: str) -> str | None:
        """None if the target has the toggle."""
        if toggle in self.spellings:
            return None
        return self.unsupported_because(self.unsupported.get(toggle, "not known to this target"))

    def why_lacking(self, toggles: Iterable[str]) -> str | None:
        """The first of ``toggles`` that the target does not have, and why; None if it has them all."""
        for name in toggles:
            if (why := self.why_without(name)) is not None:
                return f"{name}: {why}"
        return None

    def why_untold(self) -> dict[Evidence, str]:
        """:attr:`lacks`, as checks say it."""
        return {name: self.unsupported_because(reason) for name, reason in self.lacks.items()}

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
