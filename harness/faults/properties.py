"""The property suite on a planted engine, through pytest in this process. It is named, not imported: the harness stands
below it."""

from __future__ import annotations

import importlib
import os
import re
import sys
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import settings

PACKAGE = "property_tests"
PROFILE = "quick"
INVARIANTS = re.compile(r"\bInvariants? ([0-9, and]+)")


@dataclass(frozen=True)
class Tested:
    test: str
    invariants: tuple[int, ...]
    message: str | None
    at: float


def load() -> None:
    """What pytest would import once more for every fault. A property keeps the profile under which it was read."""
    importlib.import_module(f"{PACKAGE}.profiles").register()
    before = settings.get_current_profile_name()
    settings.load_profile(PROFILE)
    for path in _files():
        importlib.import_module(f"{PACKAGE}.{Path(path).stem}")
    settings.load_profile(before)


def run(fault: str | None, wanted: Callable[[Collection[int]], bool], seed: int) -> Iterator[Tested]:
    """Properties of all modules whose invariants are ``wanted``, as they ended; not skipped ones.
    ``seed`` is what their examples are drawn from.
    """
    files = [file for file in _files() if wanted(_numbers(_module(file)))]
    if not files:
        return
    reports = _Reports()
    arguments = [
        "-q", "-c", os.devnull, "--rootdir", _package(), "--import-mode=importlib", "-p", "no:cacheprovider",
        "-p", "no:benchmark", "--hypothesis-profile", PROFILE, "--hypothesis-seed", str(seed),
        *(["--plant", fault] if fault else []),
        *(["-n0"] if importlib.util.find_spec("xdist") else []), *files,
    ]  # fmt: skip
    code = pytest.main(arguments, plugins=[reports])
    if code not in (0, 1) or not reports.tested:
        raise RuntimeError(f"pytest ended with {code} after {len(reports.tested)} properties")
    yield from reports.tested


class _Reports:
    def __init__(self) -> None:
        self.tested: list[Tested] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped or not (report.when == "call" or report.failed):
            return
        file, _, name = report.nodeid.partition("::")
        module = _module(file)
        message = _last_line(report) if report.failed else None
        self.tested.append(Tested(f"{Path(file).name}::{name}", _numbers(module), message, time.process_time()))


def _last_line(report: pytest.TestReport) -> str:
    crash = getattr(report.longrepr, "reprcrash", None)
    return str(crash.message if crash else report.longrepr).strip().splitlines()[0]


def _module(file: str) -> object:
    return sys.modules.get(f"{PACKAGE}.{Path(file).stem}")


def _numbers(module: object) -> tuple[int, ...]:
    """Of the invariants that a module's docstring names."""
    found = INVARIANTS.search(getattr(module, "__doc__", None) or "")
    return tuple(map(int, re.findall(r"\d+", found[1]))) if found else ()


def _files() -> list[str]:
    """Not the benchmarks beside them."""
    return sorted(map(str, Path(_package()).glob("test_*.py")))


def _package() -> str:
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"{PACKAGE} is not installed beside this harness")
    return str(Path(spec.origin).parent)
