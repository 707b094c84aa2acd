"""For every test run: one thread a process, since the workers and the servers they launch share the cores; the same
examples every time; and an end, for who has so much time and no more.
"""

from __future__ import annotations

import os
import time

import pytest

from property_tests.profiles import load_default

os.environ.setdefault("OMP_NUM_THREADS", "1")
TESTS_END = "TESTS_END"
"""Environment variable: the moment, in seconds since 1970, after which no test is begun."""
TIME_IS_UP = f"the time of {TESTS_END} is up"


def pytest_configure(config: pytest.Config) -> None:
    """Repeatable examples, unless another profile was asked for."""
    if config.getoption("--hypothesis-profile", default=None) is None:
        load_default()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    if time.time() > float(os.environ.get(TESTS_END, "inf")):
        pytest.skip(TIME_IS_UP)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    skipped = [one.longrepr for one in terminalreporter.stats.get("skipped", [])]
    left = sum(isinstance(why, tuple) and why[2].endswith(TIME_IS_UP) for why in skipped)
    if left:
        terminalreporter.write_line(f"{left} tests NOT RUN: {TIME_IS_UP}", yellow=True, bold=True)
