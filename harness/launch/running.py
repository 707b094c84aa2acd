"""A server that answers at an address, however it came to run: what every launcher gives, and when it is ready.

``start`` and :func:`wait_ready` are apart, so that several can start side by side. ``terminate`` only asks; ``stop``
sees to it, may be called at any time and twice. What still runs when Assay ends is stopped then.
"""

from __future__ import annotations

import atexit
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import httpx2

from harness.errors import JobError, LaunchError, TargetDied
from harness.launch import logs
from harness.targets.base import Launch, Target

POLL_SECONDS = 0.05
TOLD_EVERY = 15.0
DEATH_SECONDS = 3.0
ReadyUrl = Callable[[str], str | None]
"""From a log, the address that a target has announced in it."""
OnWait = Callable[[str], None]
Logs = Callable[[str], Path]
"""Where the log of a setting's server goes."""

_running: set[Running] = set()


class Running(ABC):
    headers: Mapping[str, str] = {}
    """Sent with every request; never recorded."""

    def __init__(self, name: str, log: Path | None) -> None:
        self.name, self.log = name, log
        self.url = ""
        self.seconds_to_ready = 0.0
        self._started = 0.0
        self._owner = os.getpid()
        self._follower = logs.Follower(log) if log else None

    @abstractmethod
    def start(self) -> None: ...

    @abstractmethod
    def ended(self) -> str | None:
        """How it ended, as words; None while it runs."""

    @abstractmethod
    def terminate(self) -> None:
        """Ask it to end, without waiting; :meth:`stop` sees to it."""

    @abstractmethod
    def stop(self) -> None:
        """Until nothing of it is left, in bounded time."""

    @property
    def family(self) -> int | None:
        """The process of this machine that it and all of its children run under; None where there is none such."""
        return None

    @abstractmethod
    def facts(self) -> dict[str, Any]:
        """What the record keeps of it: command line, environment, image..., nothing secret."""

    def reach(self, announced: str) -> str:
        """Where Assay reaches what the server calls ``announced``."""
        return announced

    def intruder(self) -> str | None:
        """Who else answers at the address, if it is not this server."""
        return None

    def check_ready(self, ready_url: ReadyUrl, health_path: str) -> bool:
        """Whether the announced address answers. Raises :class:`LaunchError` with the telling lines if it ended."""
        if (ended := self.ended()) is not None:
            raise LaunchError(f"server {self.name} did not start: it {ended}\n{self.telling_lines()}".rstrip())
        if not self.url and self._follower and (announced := self._follower.find(ready_url)):
            self.url = self.reach(announced)
        if not (self.url and self.healthy(health_path)):
            return False
        if (intruder := self.intruder()) is not None:
            raise LaunchError(f"server {self.name}: {intruder}\n{self.telling_lines()}")
        self.seconds_to_ready = time.monotonic() - self._started
        return True

    def healthy(self, path: str) -> bool:
        try:
            answer = httpx2.get(self.url + path, headers=dict(self.headers), timeout=2.0, trust_env=False)
        except httpx2.TransportError as error:
            self._answer = f"{path} gave {type(error).__name__}"
            return False
        self._answer = f"{path} answered {answer.status_code}"
        return answer.status_code == 200

    _answer = "it has not told an address"

    def not_ready(self) -> str:
        """What it was seen to do instead of being ready."""
        return f"at {self.url}, {self._answer}" if self.url else self._answer

    @property
    def lost_guard(self) -> bool:
        """Whether it ended because what watches it for Assay did: no check may hold that against it."""
        return False

    def death(self, doing: str, patience: float | None = None) -> JobError:
        """The error to raise when a call to this server failed: says whether it died or just did not answer. A
        :class:`TargetDied` unless it was not the target's doing.
        """
        deadline = time.monotonic() + (DEATH_SECONDS if patience is None else patience)
        while (ended := self.ended()) is None and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
        what = f"{ended} while {doing}" if ended else f"is running but did not answer while {doing}"
        kind = JobError if self.lost_guard else TargetDied
        return kind(f"server {self.name} {what}\n{self.telling_lines()}")

    def log_text(self) -> str:
        return logs.read(self.log) if self.log else ""

    def log_tail(self, lines: int = 40) -> str:
        return "\n".join(line[: logs.LINE_SHOWN * 4] for line in self.log_text().splitlines()[-lines:])

    def telling_lines(self, most: int = 5) -> str:
        """The lines of the log that say why it failed, what to do where that is known, and where to read on."""
        if self.log is None:
            return "    (its log is not Assay's to read)"
        found = "\n".join(f"    {line}" for line in logs.telling_lines(self.log_text(), most))
        advice = logs.remedy(found)
        return found + (f"\n    what to do: {advice}" if advice else "") + f"\n    full log: {self.log}"

    def _register(self) -> None:
        _running.add(self)
        self._started = time.monotonic()

    def _forget(self) -> None:
        _running.discard(self)


class Launcher(Protocol):
    """One way to bring servers up."""

    def prepare(self) -> dict[str, Any]:
        """What a run's record keeps of it. Raises :class:`LaunchError` for what cannot work, before anything starts."""

    def servers(self, target: Target, launches: Mapping[str, Launch], logs: Logs) -> dict[str, Running]:
        """One by setting, none of them started. Raises :class:`LaunchError` for settings that cannot be had."""


def wait_ready(
    servers: Sequence[Running],
    ready_url: ReadyUrl,
    health_path: str,
    timeout: float,
    on_wait: OnWait = lambda text: None,
) -> None:
    """Until every one of them is ready; the first that ends, or that takes too long, raises :class:`LaunchError`."""
    began = told = time.monotonic()
    waiting = list(servers)
    while waiting := [server for server in waiting if not server.check_ready(ready_url, health_path)]:
        now = time.monotonic()
        if now > began + timeout:
            late = f"server {waiting[0].name} was not ready within {timeout:g} s"
            why = f"{waiting[0].not_ready()}; raise --startup-timeout if it only needs longer"
            raise LaunchError(f"{late}: {why}\n{waiting[0].telling_lines()}")
        if now > told + TOLD_EVERY:
            told = now
            last = waiting[0].log_tail(1) or "its log is empty"
            on_wait(f"still waiting for {waiting[0].name} ({now - began:.0f} s): {last[:100]}")
        time.sleep(POLL_SECONDS)


@atexit.register
def stop_all() -> None:
    """End every server that still runs and that this process, not one it was forked from, has started."""
    mine = [server for server in _running if server._owner == os.getpid()]
    for server in mine:
        server.terminate()
    for server in mine:
        server.stop()
