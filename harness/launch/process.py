"""One server process: a session of its own behind a guard, its log in a file, nothing of it left when it is stopped.

:mod:`harness.launch.guard` ends it, also when Assay is killed; when the guard is killed, :meth:`ServerProcess.stop`
ends what carries the guard's mark.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from harness.launch.processes import command_line, descendants, identity, listeners
from harness.launch.running import Logs, Running
from harness.launch.sweep import end_marked
from harness.records import public_arguments, public_environment
from harness.targets.base import Launch, LaunchLine, Target

GRACE_SECONDS = 5.0
"""What a server gets to obey SIGTERM."""
ENDING_SECONDS = 8.0
"""What its guard may need beyond that."""
ROOT = Path(__file__).parents[2]
SIGNALS = {"SIGKILL": "; if nobody did that, the kernel did, for memory: `dmesg | grep -i oom`"}


class Guarded(Running):
    """A server that a guard process starts, watches and ends. The guard lives while its standard input is open."""

    guard = ""
    """The guard's identity."""
    _guard_process: subprocess.Popen[bytes] | None = None
    grace = GRACE_SECONDS

    def _start_guard(self, module: str, arguments: Sequence[str], environment: dict[str, str], stdout: int) -> None:
        assert self.log is not None
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("w+b"), self.log.open("a+b") as log:
            self._guard_process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                env=environment,
                stdin=subprocess.PIPE,
                stdout=stdout if stdout >= 0 or stdout == subprocess.PIPE else log,
                stderr=log,
                start_new_session=True,
            )
        self.guard = identity(self._guard_process.pid)
        self._register()

    @property
    def pid(self) -> int:
        """Of the guard, which is also the number of the server's group and session."""
        assert self._guard_process is not None
        return self._guard_process.pid

    def ended(self) -> str | None:
        code = self._guard_process.poll() if self._guard_process else None
        if code is None:
            return None
        if code < 0:
            return f"lost its guard (process {self.pid}, ended by {signal.Signals(-code).name}) and was ended with it"
        with contextlib.suppress(ValueError):
            name = signal.Signals(code - 128).name
            return f"was ended by {name}" + ("" if self._asked_to_end else SIGNALS.get(name, ""))
        return f"ended with exit code {code}"

    @property
    def lost_guard(self) -> bool:
        """With a guard that was killed the server goes, too."""
        return self._guard_process is not None and (self._guard_process.poll() or 0) < 0

    _asked_to_end = False

    def terminate(self) -> None:
        if self._guard_process is not None and not self._asked_to_end:
            self._asked_to_end = True
            assert self._guard_process.stdin is not None
            with contextlib.suppress(OSError):
                self._guard_process.stdin.close()

    def stop(self) -> None:
        if self._guard_process is None:
            return
        self.terminate()
        try:
            self._guard_process.wait(self.grace + ENDING_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self.pid, signal.SIGKILL)
            self._guard_process.wait()
        if self._guard_process.returncode < 0:
            self._end_unguarded()
        self._forget()

    def _end_unguarded(self) -> None:
        """End what a guard that was killed left."""
        end_marked({self.guard})


class ServerProcess(Guarded):
    def __init__(self, name: str, line: LaunchLine, log: Path, *, inherited: dict[str, str] | None = None) -> None:
        super().__init__(name, log)
        self.line = line
        self.grace = GRACE_SECONDS
        self._inherited = dict(os.environ) if inherited is None else inherited

    def start(self) -> None:
        arguments = (str(self.grace), "--", *self.line.argv)
        self._start_guard("harness.launch.guard", arguments, self.environment(), subprocess.STDOUT)

    def environment(self) -> dict[str, str]:
        """Assay's own environment less any engine settings in it, plus the launch line's; this checkout stays
        importable.
        """
        kept = {name: value for name, value in self._inherited.items() if not name.startswith("ASSAY_")}
        paths = [str(ROOT), *filter(None, [kept.get("PYTHONPATH")])]
        return kept | {"PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"} | dict(self.line.env)

    @property
    def family(self) -> int | None:
        return self.pid

    def facts(self) -> dict[str, Any]:
        return {"argv": public_arguments(self.line.argv), "environment": public_environment(self.environment())}

    def intruder(self) -> str | None:
        address = urlsplit(self.url)
        others = (listeners(address.port) if address.port else None) or set()
        if not others or others & descendants(self.pid):
            return None
        other = min(others)
        return f"port {address.port} is answered by process {other} ({command_line(other)[:80]}), not by this server"


class ProcessLauncher:
    """Servers as processes of this machine."""

    def prepare(self) -> dict[str, Any]:
        return {"launcher": "process"}

    def servers(self, target: Target, launches: Mapping[str, Launch], logs: Logs) -> dict[str, Running]:
        return {name: ServerProcess(name, target.launch_line(launch), logs(name)) for name, launch in launches.items()}
