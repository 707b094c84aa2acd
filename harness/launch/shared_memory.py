"""Which shared-memory segments a family of processes holds, so that they can be removed when it is gone.

A segment in ``/dev/shm`` is theirs when one of them has it mapped or open, or when its name says so, by the number of
one of them (SGLang's ``sgl_shm_mm_PID_...`` is mapped for moments only). Names that were there before are left alone,
and so is what anybody else still holds. A System V segment is theirs when one of them created it.
"""

from __future__ import annotations

import contextlib
import ctypes
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from harness.launch.processes import PROC, all_processes, open_files

SHM = Path("/dev/shm")
LOOKS = 20
"""How often a new name is looked at again while none of the family holds it: it may be between open and map."""
IPC_RMID = 0


class SharedMemory:
    """Call :meth:`look` now and then while they run (it costs one listing unless a name is new), and :meth:`remove`
    when they are gone.
    """

    def __init__(self, held: Mapping[str, int] | None = None) -> None:
        self.held: dict[str, int] = dict(held or {})
        """Inode by name, of the family's segments."""
        self.system_v: set[int] = set()
        self._known = set() if held is not None else set(_names())
        self._looks: dict[str, int] = {}
        self._family: set[int] = set()
        """All that ever were."""

    def has_news(self) -> bool:
        """Whether there are names that nobody is known to have: time to look, before their owner may be gone."""
        return any(name not in self._known for name in _names())

    def look(self, family: Iterable[int]) -> bool:
        """Whether something new was found to be theirs."""
        pids, before = set(family), (len(self.held), len(self.system_v))
        new = [name for name in _names() if name not in self._known]
        self._family |= pids
        held = _segments(pids) if new else {}
        for name in new:
            if (inode := held.get(name) or self._named(name)) is not None:
                self.held[name] = inode
            self._looks[name] = self._looks.get(name, 0) + 1
            if name in self.held or self._looks[name] > LOOKS:
                self._known.add(name)
        self.system_v |= {segment for segment, creator, _ in _system_v() if creator in pids}
        return (len(self.held), len(self.system_v)) != before

    def _named(self, name: str) -> int | None:
        """Inode of a segment whose name holds the number of one of the family."""
        numbers = {int(number) for number in re.findall(r"(?<![0-9A-Za-z])\d{2,}(?![0-9A-Za-z])", name)}
        return _inode(SHM / name) if numbers & self._family else None

    def remove(self) -> list[str]:
        """Unlink what is left of theirs and nobody holds; the names of what went."""
        self.look(())
        left = {name for name, inode in self.held.items() if _inode(SHM / name) == inode}
        left -= _segments({one.pid for one in all_processes()}).keys() if left else set()
        for name in left:
            with contextlib.suppress(OSError):
                (SHM / name).unlink()
        unused = {segment for segment, _, attached in _system_v() if segment in self.system_v and not attached}
        for segment in unused:
            ctypes.CDLL(None).shmctl(segment, IPC_RMID, None)
        return sorted(left) + [f"System V segment {segment}" for segment in sorted(unused)]


def _names() -> list[str]:
    with contextlib.suppress(OSError):
        return [entry.name for entry in SHM.iterdir()]
    return []


def _inode(path: Path) -> int | None:
    with contextlib.suppress(OSError):
        return path.stat().st_ino
    return None


def _segments(pids: Iterable[int]) -> dict[str, int]:
    """Inode by name of what these processes have mapped or open in ``/dev/shm``."""
    prefix = f"{SHM}/"
    paths: set[str] = set()
    for pid in pids:
        with contextlib.suppress(OSError):
            lines = (PROC / str(pid) / "maps").read_text(errors="replace").splitlines()
            paths.update(line[line.index(prefix) :] for line in lines if prefix in line)
        paths.update(path for path in open_files(pid) if path.startswith(prefix))
    found = {path.removeprefix(prefix): _inode(Path(path)) for path in paths}
    return {name: inode for name, inode in found.items() if inode is not None}


def _system_v() -> list[tuple[int, int, int]]:
    """Id, creator and number of attached processes of each System V segment."""
    with contextlib.suppress(OSError):
        rows = [line.split() for line in (PROC / "sysvipc/shm").read_text().splitlines()[1:]]
        return [(int(row[1]), int(row[4]), int(row[6])) for row in rows]
    return []
