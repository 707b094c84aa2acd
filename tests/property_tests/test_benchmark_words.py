"""A slowdown is told beside the stored baseline, and the code's own noise is not."""

from __future__ import annotations

from property_tests.benchmarks.conftest import told


def test_a_slowdown_is_told() -> None:
    assert told(2.0, 1.0) == "    2.00 times the baseline  SLOWER"
    assert told(0.5, 1.0) == "    0.50 times the baseline  faster"
    assert told(1.2, 1.0) == "    1.20 times the baseline"
    assert told(1.2, None) == "  no baseline"
