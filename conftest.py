"""For every test run: one thread a process, since the workers and the servers they launch share the cores; the same
examples every time."""

from __future__ import annotations

import os

import pytest

from property_tests.profiles import load_default

os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_configure(config: pytest.Config) -> None:
    """Repeatable examples, unless another profile was asked for."""
    if config.getoption("--hypothesis-profile", default=None) is None:
        load_default()
