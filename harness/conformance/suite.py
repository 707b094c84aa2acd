"""Puts the properties to one implementation, in a pytest of its own, and reads what they said."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import JobError
from harness.json_lines import read_lines

OUTCOMES = ("pass", "fail", "expected_failure", "unexpected_pass", "unsupported")
FINISHED = (" PASSED", " FAILED", " SKIPPED", " XFAIL", " XPASS", " ERROR")
LAST_LINES = 15
BESIDE = Path(__file__).parents[2]
"""Where this harness was imported from: the properties that are put are those beside it."""


@dataclass(frozen=True)
class Seat:
    """An implementation to judge; ``python`` is its environment's, None for this one."""

    name: str
    python: Path | None = None


@dataclass(frozen=True)
class Judgement:
    """Everything that was said of one implementation; ``lines`` as :mod:`property_tests.outcomes` writes them."""

    name: str
    version: str
    profile: str
    seconds: float
    lines: list[dict[str, Any]]

    def count(self, outcome: str) -> int:
        return sum(line["outcome"] == outcome for line in self.lines)


def judge(seat: Seat, profile: str, finished: Callable[[], None]) -> Judgement:
    """Run the whole suite. ``finished`` is called as each property ends. Raises :class:`JobError` where none ran."""
    with tempfile.TemporaryDirectory(prefix="assay-conformance-") as place:
        outcomes = Path(place) / "outcomes.jsonl"
        said = _run_suite(_command(seat, profile, outcomes), place, finished)
        lines = [json.loads(line) for line in read_lines(outcomes)] if outcomes.exists() else []
    if len(lines) < 2:
        raise JobError(f"the properties did not run on {seat.name}:\n" + "\n".join(said.lines[-LAST_LINES:]))
    first, *rest = lines
    return Judgement(first["implementation"], first["version"], profile, round(said.seconds, 1), rest)


def _command(seat: Seat, profile: str, outcomes: Path) -> list[str]:
    """Our own ini options and plugins are left aside, so that it runs wherever the package is installed. Values are
    joined to their options: pytest takes a path that stands alone for where to look for its settings."""
    command = [
        sys.executable, "-m", "pytest", "--pyargs", "property_tests", "-v", "--tb=short", "-p", "no:cacheprovider",
        "-o", "addopts=", f"--ignore={BESIDE / 'property_tests' / 'benchmarks'}", f"--hypothesis-profile={profile}",
        f"--implementation={seat.name}", f"--outcomes={outcomes}",
    ]  # fmt: skip
    return command + ([f"--implementation-python={seat.python}"] if seat.python else [])


@dataclass(frozen=True)
class _Said:
    lines: list[str]
    seconds: float


def _run_suite(command: list[str], place: str, finished: Callable[[], None]) -> _Said:
    began, lines = time.monotonic(), []
    with _started(command, place) as output:
        for line in output:
            lines.append(line.rstrip())
            if "::test_" in line and any(mark in line for mark in FINISHED):
                finished()
    return _Said(lines, time.monotonic() - began)


@contextmanager
def _started(command: list[str], place: str) -> Iterator[Any]:
    """The output of a process that ends with this block."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(BESIDE), os.environ.get("PYTHONPATH", "")])}
    process = subprocess.Popen(
        command, cwd=place, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        yield process.stdout
    finally:
        process.kill()
        process.communicate()
