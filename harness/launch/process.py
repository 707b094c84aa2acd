"""One server process: a group of its own, its log in a file, ready when it says so and answers, never leaked.

``start`` and :func:`wait_ready` are apart, so that several can start side by side. ``stop`` may be called at any time
and twice. What still runs when Assay ends is ended by ``atexit``; when Assay is killed, by :mod:`harness.launch.guard`.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import httpx2

from harness.errors import LaunchError, TargetDied
from harness.targets.base import LaunchLine

STOP_SECONDS = 6.0
POLL_SECONDS = 0.05
TELLING = re.compile(
    r"error|exception|refused|in use|unknown|cannot|not found|no such|fatal|killed|out of memory", re.IGNORECASE
)
ReadyUrl = Callable[[str], str | None]
"""From a log, the address that a target has announced in it."""
ROOT = Path(__file__).parents[2]

_running: set[ServerProcess] = set()


class ServerProcess:
    def __init__(self, name: str, line: LaunchLine, log: Path, *, inherited: dict[str, str] | None = None) -> None:
        self.name, self.line, self.log = name, line, log
        self.url = ""
        self.seconds_to_ready = 0.0
        self._inherited = dict(os.environ) if inherited is None else inherited
        self._process: subprocess.Popen[bytes] | None = None
        self._lifeline = -1
        self._asked_to_end = False

    def start(self) -> None:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        read_end, self._lifeline = os.pipe()
        guard = [sys.executable, "-m", "harness.launch.guard", str(read_end), "--", *self.line.argv]
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                guard,
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=[read_end],
            )
        os.close(read_end)
        _running.add(self)
        self._started = time.monotonic()

    @property
    def pid(self) -> int:
        """Of the guard, which is also the number of the server's group and session."""
        assert self._process is not None
        return self._process.pid

    def environment(self) -> dict[str, str]:
        """Assay's own environment less any engine settings in it, plus the launch line's; this checkout stays
        importable.
        """
        kept = {name: value for name, value in self._inherited.items() if not name.startswith("ASSAY_")}
        paths = [str(ROOT), *filter(None, [kept.get("PYTHONPATH")])]
        return kept | {"PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"} | dict(self.line.env)

    def check_ready(self, ready_url: ReadyUrl, health_path: str) -> bool:
        """Whether the announced address answers. Raises :class:`LaunchError` with the telling lines if it ended."""
        if (ended := self.ended()) is not None:
            raise LaunchError(f"server {self.name} did not start: it {ended}\n{self.telling_lines()}")
        self.url = self.url or ready_url(self.log_text()) or ""
        if not (self.url and _healthy(self.url + health_path)):
            return False
        self.seconds_to_ready = time.monotonic() - self._started
        return True

    def ended(self) -> str | None:
        """How it ended, as words; None while it runs."""
        code = self._process.poll() if self._process else None
        if code is None:
            return None
        number = -code if code < 0 else code - 128
        with contextlib.suppress(ValueError):
            return f"was ended by {signal.Signals(number).name}"
        return f"ended with exit code {code}"

    def death(self, doing: str, patience: float = 2.0) -> TargetDied:
        """The error to raise when a call to this server failed: says whether it died or just did not answer."""
        deadline = time.monotonic() + patience
        while (ended := self.ended()) is None and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
        what = f"{ended} while {doing}" if ended else f"is running but did not answer while {doing}"
        return TargetDied(f"server {self.name} {what}\n{self.telling_lines()}")

    def log_text(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def log_tail(self, lines: int = 40) -> str:
        return "\n".join(self.log_text().splitlines()[-lines:])

    def telling_lines(self, most: int = 5) -> str:
        """The last lines of the log that speak of trouble, else simply its last lines."""
        lines = [line.rstrip() for line in self.log_text().splitlines() if line.strip()]
        telling = [line for line in lines if TELLING.search(line)] or lines or ["(the log is empty)"]
        return "\n".join(f"    {line[:300]}" for line in telling[-most:]) + f"\n    full log: {self.log}"

    def terminate(self) -> None:
        """Ask the group to end, without waiting; :meth:`stop` sees to it."""
        if self._process is not None and not self._asked_to_end:
            self._asked_to_end = True
            self._signal_group(signal.SIGTERM)

    def stop(self) -> None:
        """SIGTERM to the group, a while to obey, SIGKILL to whatever is left of it."""
        _running.discard(self)
        if self._process is None:
            return
        self.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_SECONDS)
        self._signal_group(signal.SIGKILL)
        self._process.wait()
        if self._lifeline >= 0:
            os.close(self._lifeline)
            self._lifeline = -1

    def _signal_group(self, number: signal.Signals) -> None:
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)


def wait_ready(processes: Sequence[ServerProcess], ready_url: ReadyUrl, health_path: str, timeout: float) -> None:
    """Until every one of them is ready; the first that ends, or that takes too long, raises :class:`LaunchError`."""
    deadline = time.monotonic() + timeout
    waiting = list(processes)
    while waiting := [process for process in waiting if not process.check_ready(ready_url, health_path)]:
        if time.monotonic() > deadline:
            told = f"server {waiting[0].name} was not ready within {timeout:g} s (raise --startup-timeout)"
            raise LaunchError(f"{told}\n{waiting[0].telling_lines()}")
        time.sleep(POLL_SECONDS)


def _healthy(url: str) -> bool:
    try:
        return httpx2.get(url, timeout=2.0, trust_env=False).status_code == 200
    except httpx2.TransportError:
        return False


@atexit.register
def stop_all() -> None:
    """End every server that still runs."""
    for process in list(_running):
        process.stop()
