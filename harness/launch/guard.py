"""``python -m harness.launch.guard GRACE -- COMMAND...``: runs COMMAND, and ends it and everything that came of it.

It does so when COMMAND ends, and when Assay is gone: its standard input is a pipe whose other end only Assay holds,
which closes when Assay lets go or ends in any way, ``kill -9`` included. GRACE is how many seconds COMMAND may take to
obey SIGTERM. On Linux nothing escapes: orphans, with sessions of their own too, become the guard's children
(PR_SET_CHILD_SUBREAPER), and the command is killed with its guard (PR_SET_PDEATHSIG). Shared memory and temporary
files that they leave are removed. The exit status is the command's (128 + signal when a signal ended it). Standard
output and error are the command's own.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from types import FrameType

from harness.launch.logs import bound
from harness.launch.processes import MARK, descendants, identity, send
from harness.launch.scratch import Scratch
from harness.launch.shared_memory import SharedMemory

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
ORPHAN_SECONDS = 1.0
"""What children of a command that is gone get to end by themselves."""
KILL_SECONDS = 5.0
POLL_SECONDS = 0.1
LOOK_EVERY = 5


def control(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value)


def die_with_parent() -> None:
    control(PR_SET_PDEATHSIG, signal.SIGKILL)


def keep_running(signum: int, frame: FrameType | None) -> None:
    """The group's signals are for the command; the guard stays to report how it ended."""


class Guard:
    def __init__(self, grace: float, command: list[str]) -> None:
        self.grace, self.parent = grace, os.getppid()
        me = identity(os.getpid())
        self.scratch, self.segments = Scratch(me), SharedMemory()
        self.code: int | None = None
        environment = {**os.environ, **self.scratch.variables(), MARK: me}
        try:
            self.child = subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, preexec_fn=die_with_parent
            )
        except OSError:
            self.scratch.remove()
            raise

    def watch(self) -> None:
        """Until the command ends or Assay is gone."""
        turn = 0
        while not self.reaped() and not self.alone(POLL_SECONDS):
            if turn % LOOK_EVERY == 0 or self.segments.has_news():
                self.look()
            if turn % LOOK_EVERY == 0:
                bound(sys.stdout.fileno())
            turn += 1

    def alone(self, seconds: float) -> bool:
        """Whether Assay is gone or wants an end; waits for that."""
        return bool(select.select([0], [], [], seconds)[0]) or os.getppid() != self.parent

    def look(self) -> None:
        if self.segments.look(descendants(os.getpid())):
            self.scratch.keep(self.segments)

    def reaped(self) -> bool:
        """Whether the command has ended; whoever else ended is forgotten."""
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                if ended[0] == self.child.pid:
                    code = os.waitstatus_to_exitcode(ended[1])
                    self.code = self.child.returncode = code if code >= 0 else 128 - code
        return self.code is not None

    def end(self) -> int:
        """SIGTERM to the group, then to whoever is left, then SIGKILL; never more than a bounded time."""
        self.look()
        if self.code is None:
            os.killpg(0, signal.SIGTERM)
            self._wait(self.grace, self.reaped)
        if self.code is not None:
            self._wait(ORPHAN_SECONDS, lambda: self._gone(signal.SIGTERM))
        self._wait(KILL_SECONDS, lambda: self._gone(signal.SIGKILL))
        if left := self._left():
            sys.stderr.write(f"assay: could not end {sorted(left)}: see `ps -o pid,stat,wchan,args -p {min(left)}`\n")
        self.segments.remove()
        self.scratch.remove()
        if sys.platform != "linux":
            os.killpg(0, signal.SIGKILL)  # nothing tells who is left: the group, with this guard
        return 128 + signal.SIGKILL if self.code is None else self.code

    def _left(self) -> set[int]:
        self.reaped()
        return descendants(os.getpid())

    def _gone(self, number: signal.Signals) -> bool:
        left = self._left()
        send(left, number)
        return not left

    def _wait(self, seconds: float, done: Callable[[], bool]) -> None:
        deadline = time.monotonic() + seconds
        while not done() and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)


def main(argv: list[str]) -> int:
    grace, command = float(argv[0]), argv[2:]
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, keep_running)
    control(PR_SET_CHILD_SUBREAPER, 1)
    try:
        guard = Guard(grace, command)
    except OSError as error:
        sys.stderr.write(f"error: cannot run {command[0]}: {error.strerror}\n")
        return 127
    guard.watch()
    return guard.end()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
