"""What one check said of one planted fault, and the file in which a run keeps that, so that it can go on later."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

from harness.faults.forking import OutOfTime
from harness.json_lines import read_lines
from reference_engine.faults import find_fault

Bench = TypeVar("Bench")
CLEAN = "clean"
"""Stands for a fault where none is planted."""


@dataclass(frozen=True)
class Finding:
    fault: str
    suite: str
    check: str
    where: str
    """The checkpoint or address that was judged; empty for pure functions."""
    invariants: tuple[int, ...]
    """Those that the check states."""
    red: bool
    message: str
    """The first thing that was wrong; empty for a check that passed."""
    seconds: float
    """Of the job, to the moment in which the check was red, or had passed: processor time, which no busy machine
    lengthens; over HTTP, that of client and server."""


def states(invariants: Collection[int], fault: str) -> bool:
    """Whether the invariant that the fault breaks is among them."""
    return fault != CLEAN and find_fault(fault).invariant_number in invariants


def first_found(find: Callable[[Bench], Iterable[str]], bench: Bench, judged: str) -> str | None:
    """What a check finds first. What is ``judged`` and breaks in its hands is found, too."""
    try:
        return next(iter(find(bench)), None)
    except OutOfTime:
        raise
    except Exception as error:
        return f"the {judged} broke: {type(error).__name__}: {error}"


def stopped(fault: str, suite: str, where: str, trouble: str, seconds: float) -> Finding:
    """A suite that did not come to its end: every run must."""
    return Finding(fault, suite, "comes to an end", where, (14, 17), True, trouble, round(seconds, 3))


@dataclass(frozen=True)
class Done:
    """A (fault, suite) whose checks have all been asked."""

    fault: str
    suite: str
    seconds: float
    seed: int = 0


class Journal:
    """One line an entry, appended at once. A job that broke off has no ``done`` line and is run again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)

    def add(self, entries: Iterable[Finding | Done]) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            for entry in entries:
                kind = "done" if isinstance(entry, Done) else "finding"
                file.write(json.dumps({"kind": kind} | asdict(entry), ensure_ascii=False) + "\n")

    def read(self) -> tuple[list[Finding], list[Done]]:
        """Findings of finished jobs, and those jobs."""
        found: list[Finding] = []
        done: list[Done] = []
        for line in read_lines(self.path) if self.path.exists() else ():
            entry = json.loads(line)
            if entry.pop("kind") == "done":
                done.append(Done(**entry))
            else:
                found.append(Finding(**entry | {"invariants": tuple(entry["invariants"])}))
        finished = {(one.fault, one.suite) for one in done}
        return [one for one in found if (one.fault, one.suite) in finished], done
