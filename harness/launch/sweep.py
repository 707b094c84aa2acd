"""Finds and removes what launches have left whose guard was killed: processes, temporary files, shared memory.

Everything launched carries its guard's identity (process id, start time, PID namespace), so that nothing else is ever
touched, nor anything whose guard still lives, or may live out of sight. Containers are swept by
:mod:`harness.launch.container`.
"""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Collection

from harness.launch.processes import command_line, gone, marks, send
from harness.launch.scratch import left_scratch, left_segments

KILL_SECONDS = 5.0
POLL_SECONDS = 0.05


def end_marked(guards: Collection[str]) -> list[str]:
    """Kill every process that carries the mark of one of these guards, and remove what they left; what was found."""
    found: dict[int, str] = {}
    deadline = time.monotonic() + KILL_SECONDS
    while left := [pid for pid, guard in marks().items() if guard in guards and pid != os.getpid()]:
        found |= {pid: f"process {pid} ({command_line(pid)[:80]})" for pid in left if pid not in found}
        send(left, signal.SIGKILL)
        if time.monotonic() > deadline:
            break
        time.sleep(POLL_SECONDS)
    swept = list(found.values())
    for guard, path in left_scratch():
        if guard in guards:
            swept += [f"shared memory {name}" for name in left_segments(path).remove()] + [f"folder {path}"]
            shutil.rmtree(path, ignore_errors=True)
    return swept


def leftovers() -> set[str]:
    """Guards that are gone and have left something."""
    known = set(marks().values()) | {guard for guard, _ in left_scratch()}
    return set(filter(gone, known))


def sweep() -> list[str]:
    """Remove what is left of launches whose guard is gone; a line for each thing."""
    left = leftovers()
    return end_marked(left) if left else []
