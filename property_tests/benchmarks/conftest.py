"""Times as multiples of a fixed loop measured in the same run, beside the multiples that were stored.

A machine that is slow today is slow at both, so a multiple tells a change of the code from a change of the weather.
``--benchmark-enable -n0`` prints the table; ``--store-baseline`` writes it to ``baseline.json``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

BASELINE = Path(__file__).with_name("baseline.json")
LEAST = pytest.StashKey[dict[str, float]]()
LOOP = "calibration"
NOTABLE = 1.5
"""Runs of the same code on a busy machine differ by less."""


def pytest_configure(config: pytest.Config) -> None:
    config.stash[LEAST] = {}


def calibration() -> int:
    """Integers, a list and a dictionary, as the functions measured here use them."""
    found: dict[int, int] = {}
    numbers = [k * 2654435761 % 1009 for k in range(20_000)]
    for number in numbers:
        found[number] = found.get(number, 0) + 1
    return len(found)


def told(multiple: float, before: float | None) -> str:
    """A multiple beside the one that was stored. Nothing fails by it: whether that is too much, a person says."""
    if before is None:
        return "  no baseline"
    ratio = multiple / before
    word = "  SLOWER" if ratio > NOTABLE else "  faster" if ratio < 1 / NOTABLE else ""
    return f"{ratio:8.2f} times the baseline{word}"


@pytest.fixture(autouse=True)
def _remembered(request: pytest.FixtureRequest, benchmark: Any) -> Iterator[None]:
    yield
    if benchmark.stats is not None:
        request.config.stash[LEAST][request.node.name] = benchmark.stats["min"]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    least = config.stash[LEAST]
    if f"test_{LOOP}" not in least:
        return
    multiples = {name: seconds / least[f"test_{LOOP}"] for name, seconds in least.items()}
    implementation = config.getoption("--implementation")
    stored = json.loads(BASELINE.read_text()) if BASELINE.exists() else {}
    before = stored.get(implementation, {})
    terminalreporter.section(f"multiples of the calibration loop ({least[f'test_{LOOP}'] * 1e3:.2f} ms)")
    for name, multiple in sorted(multiples.items()):
        terminalreporter.write_line(f"{name:<44}{multiple:12.4f}{told(multiple, before.get(name))}")
    if config.getoption("--store-baseline"):
        stored[implementation] = {name: round(multiple, 5) for name, multiple in sorted(multiples.items())}
        BASELINE.write_text(json.dumps(stored, indent=1) + "\n")
