"""The loop that every other time is a multiple of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from property_tests.benchmarks.conftest import calibration


def test_calibration(benchmark: Callable[..., Any]) -> None:
    assert benchmark(calibration) == 1009
