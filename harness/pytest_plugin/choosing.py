"""Which of the collected tests run here: by suite, by hardware, by share of the estimated time."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

HARDWARE = ("any", "cpu", "nvidia", "amd")


@dataclass(frozen=True)
class Demands:
    """What a test's ``assay`` marker says of it."""

    suite: str | None = None
    est_time: float = 60.0
    """Seconds."""
    hardware: str = "any"


def demands_of(item: pytest.Item) -> Demands | None:
    """Raises :class:`pytest.UsageError` naming the test and what its marker holds wrongly."""
    marker = item.get_closest_marker("assay")
    if marker is None:
        return None
    try:
        demands = Demands(*marker.args, **marker.kwargs)
    except TypeError as error:
        raise pytest.UsageError(f"{item.nodeid}: marker assay: {error}") from error
    if demands.hardware not in HARDWARE:
        known = ", ".join(HARDWARE)
        raise pytest.UsageError(f"{item.nodeid}: marker assay: hardware={demands.hardware!r}; known: {known}")
    if not demands.est_time > 0:
        raise pytest.UsageError(f"{item.nodeid}: marker assay: est_time={demands.est_time!r} is not above 0")
    return demands


def machine() -> str:
    """The hardware of this machine, seen without importing torch."""
    if Path("/dev/kfd").exists():
        return "amd"
    return "nvidia" if shutil.which("nvidia-smi") else "cpu"


def read_shard(given: str) -> tuple[int, int]:
    """``K/N`` with K from 1 to N."""
    number, _, of = given.partition("/")
    if not (number.isdigit() and of.isdigit() and 1 <= int(number) <= int(of)):
        raise pytest.UsageError(f"--assay-shard {given!r}: write K/N with K from 1 to N, such as 2/4")
    return int(number), int(of)


def shard(times: Mapping[str, float], number: int, of: int) -> set[str]:
    """The tests of part ``number``: longest first, each to the part that has least so far. Every part of the same
    collection comes out the same on every machine.
    """
    loads = [0.0] * of
    parts: list[set[str]] = [set() for _ in range(of)]
    for name, seconds in sorted(times.items(), key=lambda pair: (-pair[1], pair[0])):
        least = loads.index(min(loads))
        loads[least] += seconds
        parts[least].add(name)
    return parts[number - 1]
