from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from harness.bench.contest import Contest, EntryResult, Oracle, Wishes
from harness.bench.entries import Entry, Seat
from harness.bench.workloads import Workload
from harness.progress import Silent

FEW = Workload(6, (2, 5), load=2.0)
STANDINS = "tests.harness.bench.standin_contestants:"
Hold = Callable[..., EntryResult]


@pytest.fixture
def hold(tmp_path: Path) -> Hold:
    """Holds an entry of stand-ins in processes of their own; the last one is the oracle."""

    def held(*seats: Seat, rounds: int = 4) -> EntryResult:
        entry = Entry("standins", "stand-ins", FEW, seats, oracle="last seat", rounds=rounds)
        wishes = Wishes(tmp_path / "cache", tmp_path / "logs")
        return Contest(entry, wishes, Oracle(wishes), Silent()).hold()

    return held


def echo(name: str, goal: float | None = None, **options: object) -> Seat:
    return Seat(name, f"{STANDINS}Echo", options, goal)
