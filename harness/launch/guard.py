"""``python -m harness.launch.guard FD -- COMMAND...``: runs COMMAND and ends its whole process group when Assay is
gone.

FD is the read end of a pipe whose write end only Assay holds: it closes when Assay ends in any way, ``kill -9``
included, on every Unix. On Linux the command also asks the kernel to end it with this guard. The guard's exit status
is the command's (128 + signal when a signal ended it). Standard output and error are the command's own.
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
from types import FrameType

PR_SET_PDEATHSIG = 1
GRACE_SECONDS = 5.0
POLL_SECONDS = 0.1


def die_with_parent() -> None:
    """In a child between fork and exec: be killed when the parent ends (Linux; elsewhere the pipe alone does it)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def keep_running(signum: int, frame: FrameType | None) -> None:
    """The group's signals are for the command; the guard stays to report how it ended."""


def end_group(child: subprocess.Popen[bytes]) -> None:
    """SIGTERM to the guard's group, then SIGKILL, which ends the guard too."""
    os.killpg(0, signal.SIGTERM)
    deadline = time.monotonic() + GRACE_SECONDS
    while child.poll() is None and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    os.killpg(0, signal.SIGKILL)


def main(argv: list[str]) -> int:
    lifeline, command = int(argv[0]), argv[2:]
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, keep_running)
    try:
        child = subprocess.Popen(command, preexec_fn=die_with_parent)
    except OSError as error:
        sys.stderr.write(f"error: cannot run {command[0]}: {error.strerror}\n")
        return 127
    while child.poll() is None:
        readable, _, _ = select.select([lifeline], [], [], POLL_SECONDS)
        if readable:
            end_group(child)
    with contextlib.suppress(OSError):
        os.close(lifeline)
    return child.returncode if child.returncode >= 0 else 128 - child.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
