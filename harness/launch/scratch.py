"""The folder for temporary files that each launched server gets for itself: sockets and files that an engine drops in
``TMPDIR`` go when it goes. It is named after the guard, so that a later sweep knows whose it was.

Beside them lies the list of shared-memory segments seen so far, for a sweep after everything was killed at once.
"""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import shutil
import tempfile
from pathlib import Path

from harness.launch.shared_memory import SharedMemory

PREFIX = "assay-server."
HELD = ".shared-memory"


class Scratch:
    def __init__(self, guard: str) -> None:
        self.path = Path(tempfile.gettempdir()) / f"{PREFIX}{guard}"
        self.path.mkdir(mode=0o700, exist_ok=True)

    def variables(self) -> dict[str, str]:
        """What a server is told. torch's compile cache stays where it was: it is worth keeping between launches."""
        with contextlib.suppress(Exception):  # a user id without a name
            cache = Path(tempfile.gettempdir()) / f"torchinductor_{getpass.getuser()}"
            kept = os.environ.get("TORCHINDUCTOR_CACHE_DIR", str(cache))
            return {"TMPDIR": str(self.path), "TORCHINDUCTOR_CACHE_DIR": kept}
        return {"TMPDIR": str(self.path)}

    def keep(self, segments: SharedMemory) -> None:
        with contextlib.suppress(OSError):
            (self.path / HELD).write_text(json.dumps(segments.held))

    def remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)


def left_scratch() -> list[tuple[str, Path]]:
    """The folders that are there now, with the identity of the guard of each."""
    found = Path(tempfile.gettempdir()).glob(f"{PREFIX}*")
    return [(path.name.removeprefix(PREFIX), path) for path in found if path.is_dir() and not path.is_symlink()]


def left_segments(path: Path) -> SharedMemory:
    """The segments that a scratch folder names; none where the list is not to be read."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        listed = json.loads((path / HELD).read_text())
        return SharedMemory({str(name): int(inode) for name, inode in listed.items() if "/" not in str(name)})
    return SharedMemory({})
