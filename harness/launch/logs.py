"""A server's log: read without ever holding more than a bounded part of it, kept from filling the disk, and searched
for what tells why a server failed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

MIB = 2**20
MOST, HEAD, TAIL = 256 * MIB, 16 * MIB, MIB
"""A log longer than MOST loses its middle: what stays is HEAD from its start and TAIL from its end."""
OVERLAP = 4096
LINE_SHOWN = 300

FAILURE = re.compile(r"^\s*(?:\([^)]*\)\s*)?(?:[A-Za-z_][\w.]*\.)?[A-Z]\w*(?:Error|Exception|Interrupt|Exit)\b:? ?")
"""How a Python traceback ends, also behind vLLM's ``(EngineCore pid=7)``."""
TELLING = re.compile(
    r"error|exception|refused|in use|unknown|unrecognized|cannot|not found|no such|fatal|killed|out of memory"
    r"|denied|no space|segmentation",
    re.IGNORECASE,
)
REMEDIES: tuple[tuple[str, str], ...] = (
    (
        r"(CUDA|HIP) out of memory|OutOfMemoryError|hipErrorOutOfMemory|cudaErrorMemoryAllocation",
        "the card's memory is full: see who holds it with `nvidia-smi` or `amd-smi process`, or give the engine less",
    ),
    (
        r"address (is )?already in use|address in use|Errno 98\b",
        "the port is taken: `ss -ltnp` names who holds it; end that, or leave the port to Assay",
    ),
    (
        r"No module named",
        "that interpreter does not have the engine: name the one that has it with --python",
    ),
    (
        r"unrecognized arguments|no such option|unknown option|unexpected option|invalid choice",
        "this release of the engine does not know that argument: compare with the engine's own --help",
    ),
    (
        r"config\.json|is not a local folder|valid model identifier|no checkpoint|Repository Not Found",
        "the model is not there: look at --model",
    ),
    (
        r"No CUDA GPUs are available|no NVIDIA driver|no CUDA-capable device|libcuda\.so|No HIP GPUs",
        "the engine sees no card: try `nvidia-smi` or `amd-smi list` where it runs",
    ),
    (r"No space left on device", "a disk is full: `df -h` (for /dev/shm in a container: --shm-size)"),
    (r"Bus error|/dev/shm", "shared memory may be too small: `df -h /dev/shm`, in a container --shm-size"),
    (r"Too many open files", "raise `ulimit -n`"),
    (r"Permission denied|Errno 13\b", "a file or device may not be opened by this user: `ls -l` it"),
    (
        r"Cannot allocate memory|bad_alloc|MemoryError",
        "the machine's memory is full: `free -h`, or give the engine less",
    ),
)  # fmt: skip


def bound(descriptor: int, most: int = MOST, head: int = HEAD, tail: int = TAIL) -> None:
    """Cut the middle out of a log that grew past ``most``. Its writers append, so that they go on at its new end."""
    size = os.fstat(descriptor).st_size
    if size <= most:
        return
    ending = os.pread(descriptor, tail, size - tail)
    os.ftruncate(descriptor, head)
    os.write(descriptor, f"\n[assay: {size - head - tail} bytes of this log were dropped here]\n".encode() + ending)


def read(path: Path, most: int = TAIL) -> str:
    """The log, or of a long one the first and the last ``most`` bytes."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(0)
            start = file.read(most)
            file.seek(max(len(start), size - most))
            gap = b"\n[...]\n" if size > 2 * most else b""
            return (start + gap + file.read(most)).decode(errors="replace")
    except FileNotFoundError:
        return ""


class Follower:
    """Looks through a growing log once, for an announcement."""

    def __init__(self, path: Path) -> None:
        self._path, self._offset = path, 0

    def find(self, announced: Callable[[str], str | None], step: int = 4 * MIB) -> str | None:
        """What ``announced`` makes of the text that is new since the last call, up to ``step`` bytes of it."""
        if not self._path.exists():
            return None
        with self._path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            start = max(0, min(self._offset, size) - OVERLAP)
            file.seek(start)
            text = file.read(step + OVERLAP)
        self._offset = start + len(text)
        return announced(text.decode(errors="replace"))


def telling_lines(text: str, most: int = 5) -> list[str]:
    """The lines that say why: how tracebacks end, else lines that speak of trouble, else simply the last ones."""
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    causes = [line for line in lines if FAILURE.match(line)]
    trouble = [line for line in lines if TELLING.search(line)]
    found = trouble[-most:] or lines[-most:] or ["(the log is empty)"]
    if causes and not set(causes) & set(found):
        found = [causes[-1], *found[1:]]
    return [line[:LINE_SHOWN] for line in found]


def remedy(lines: str) -> str | None:
    """What to do about it, for the kinds of failure that are known."""
    return next((advice for pattern, advice in REMEDIES if re.search(pattern, lines, re.IGNORECASE)), None)
