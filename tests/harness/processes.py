"""Watching processes by their id."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path


def alive(pid: int) -> bool:
    """Running: not gone, not a zombie."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def gone_within(pid: int, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not alive(pid)


def read_pid(path: Path) -> int:
    deadline = time.monotonic() + 10
    while (not path.exists() or not path.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return int(path.read_text())
