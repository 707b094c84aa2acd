"""What each property said of the implementation under test, one JSON line each, for ``--outcomes FILE``.

The first line names the implementation. An outcome is ``pass``, ``fail``, ``expected_failure``, ``unexpected_pass`` (a
known failure that is mended: take it off the list) or ``unsupported``; ``asked`` counts calls of the implementation.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

from harness.implementations.base import Implementation

REASON_CHARACTERS = 600


class Asked:
    """How often the implementation was called."""

    times = 0


class Outcomes:
    """A pytest plugin for one run. Only properties in ``suite`` itself count, not its benchmarks."""

    def __init__(self, path: Path, suite: Path, asked: Asked, under_test: Callable[[], Implementation]) -> None:
        self._path, self._suite, self._asked, self._under_test = path, suite, asked, under_test
        self._before = 0

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        judged = self._under_test()
        mine = [item.name for item in session.items if item.path.parent == self._suite]
        self._path.write_text("")
        self._write(implementation=judged.name, version=judged.version, planted=judged.planted, properties=len(mine))

    def pytest_runtest_setup(self) -> None:
        self._before = self._asked.times

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        ended = report.when == "call" or (report.when == "setup" and report.outcome != "passed")
        if ended and item.path.parent == self._suite:
            outcome, reason = told(report)
            name, _, case = item.name.partition("[")
            self._write(
                file=item.path.name, test=name, case=case.rstrip("]"), outcome=outcome, reason=reason,
                asked=self._asked.times - self._before,
            )  # fmt: skip
        return report

    def _write(self, **line: Any) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def told(report: pytest.TestReport) -> tuple[str, str]:
    """Outcome and reason of one report."""
    if expected := getattr(report, "wasxfail", None):
        return ("expected_failure" if report.skipped else "unexpected_pass"), expected
    if report.skipped:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        return "unsupported", reason.removeprefix("Skipped: ")
    if report.failed:
        text = report.longreprtext
        return ("unexpected_pass" if text.startswith("[XPASS(strict)]") else "fail"), text[-REASON_CHARACTERS:]
    return "pass", ""
