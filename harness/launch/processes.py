"""What the kernel tells of processes: who descends from whom, who carries a mark, who listens where.

All of it is read from ``/proc``; where there is none, nothing is found and a process group is all that can be ended.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
MARK = "LAUNCHED_BY_ASSAY"
"""The variable that everything launched carries in its environment: the identity of the guard that answers for it."""


IDENTITY = re.compile(r"(?P<pid>[0-9]+)\.[0-9]+\.(?P<namespace>[0-9]+)")


@dataclass(frozen=True)
class Stat:
    pid: int
    state: str
    parent: int
    start: int
    """In clock ticks since the machine started: with the id, it names a process for ever."""


def stat(pid: int) -> Stat | None:
    """None when there is no such process."""
    with contextlib.suppress(OSError, IndexError):
        fields = (PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
        return Stat(pid, fields[0], int(fields[1]), int(fields[19]))
    return None


def identity(pid: int) -> str:
    """Of a process of our own PID namespace: its number, when it started, and the namespace, as another container
    may share our temporary folder and not our processes.
    """
    found = stat(pid)
    return f"{pid}.{found.start if found else 0}.{_namespace()}"


def _namespace() -> int:
    """0 where there is one only."""
    with contextlib.suppress(OSError):
        return int((PROC / "self/ns/pid").readlink().name[len("pid:[") : -1])
    return 0


def gone(who: str) -> bool:
    """Whether the process with that :func:`identity` runs no more. Of other namespaces, and of what is no identity,
    nothing is known.
    """
    told = IDENTITY.fullmatch(who)
    if told is None or int(told["namespace"]) != _namespace():
        return False
    found = stat(int(told["pid"]))
    return found is None or found.state == "Z" or identity(found.pid) != who


def all_processes() -> Iterator[Stat]:
    for entry in PROC.glob("[0-9]*"):
        if (found := stat(int(entry.name))) is not None:
            yield found


def descendants(root: int) -> set[int]:
    """Every living process below ``root``, whatever session or group it moved to."""
    children: dict[int, list[int]] = {}
    for one in all_processes():
        if one.state != "Z":
            children.setdefault(one.parent, []).append(one.pid)
    found: set[int] = set()
    waiting = [root]
    while waiting:
        below = children.get(waiting.pop(), [])
        found.update(below)
        waiting += below
    return found


def marks() -> dict[int, str]:
    """The identity of the guard by process, of all processes that carry the mark and may be read."""
    found = {}
    needle = f"{MARK}=".encode()
    for one in all_processes():
        with contextlib.suppress(OSError):
            for variable in (PROC / str(one.pid) / "environ").read_bytes().split(b"\0"):
                if variable.startswith(needle):
                    found[one.pid] = variable.removeprefix(needle).decode(errors="replace")
    return found


def send(pids: Iterable[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def listeners(port: int) -> set[int] | None:
    """Processes that listen on a TCP port of this machine; None where that cannot be told."""
    inodes = set()
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            for line in (PROC / "self/net" / table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                    inodes.add(f"socket:[{fields[9]}]")
    return {one.pid for one in all_processes() if inodes & set(open_files(one.pid))} or None


def open_files(pid: int) -> list[str]:
    """What its descriptors point to."""
    found = []
    with contextlib.suppress(OSError):
        for descriptor in (PROC / str(pid) / "fd").iterdir():
            with contextlib.suppress(OSError):
                found.append(str(descriptor.readlink()))
    return found


def command_line(pid: int) -> str:
    with contextlib.suppress(OSError):
        return (PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    return ""
