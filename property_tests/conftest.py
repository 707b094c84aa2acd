"""The implementation under test, and its capabilities one fixture each: a missing one skips, naming what lacks it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.implementations import get_implementation, implementation_names
from harness.implementations.base import (
    ContractIds,
    CountBandedTokens,
    CountTokens,
    ExpandIds,
    FindOffsets,
    Implementation,
    PadIds,
    PlacePositions,
    SplitRows,
    StreamText,
    Unsupported,
    WindowPositions,
)
from property_tests.known_failures import known_failures
from property_tests.profiles import load_default

HERE = Path(__file__).parent


def pytest_configure(config: pytest.Config) -> None:
    """Refuse an unknown implementation before anything runs; load the default profile unless one was asked for."""
    name = config.getoption("--implementation")
    if name not in implementation_names():
        raise pytest.UsageError(f"unknown implementation {name!r}; known: {', '.join(implementation_names())}")
    if config.getoption("--hypothesis-profile", default=None) is None:
        load_default()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Expect the known failures of this very version; strictly, so that a mended one asks to be taken off the list."""
    known = known_failures(config.getoption("--implementation"))
    for item in items:
        if item.path.parent == HERE and (failure := known.get(f"{item.path.name}::{item.name}")):
            reason = f"known in {failure.implementation} {failure.version}: {failure.reason}"
            item.add_marker(pytest.mark.xfail(reason=reason, strict=True))


def pytest_report_header(config: pytest.Config) -> str:
    planted = config.getoption("--plant")
    return f"implementation: {config.getoption('--implementation')}" + (f", planted: {planted}" if planted else "")


@pytest.fixture(scope="session")
def implementation(request: pytest.FixtureRequest) -> Implementation:
    try:
        return get_implementation(request.config.getoption("--implementation"), request.config.getoption("--plant"))
    except (LookupError, ImportError) as error:
        pytest.exit(f"property_tests: {error}", returncode=2)


def _capability(implementation: Implementation, name: str) -> Any:
    try:
        implementation.require(name)
    except Unsupported as error:
        pytest.skip(str(error))
    return getattr(implementation, name)


@pytest.fixture(scope="session")
def count_tokens(implementation: Implementation) -> CountTokens:
    return _capability(implementation, "count_tokens")


@pytest.fixture(scope="session")
def count_banded_tokens(implementation: Implementation) -> CountBandedTokens:
    return _capability(implementation, "count_banded_tokens")


@pytest.fixture(scope="session")
def expand_ids(implementation: Implementation) -> ExpandIds:
    return _capability(implementation, "expand_ids")


@pytest.fixture(scope="session")
def contract_ids(implementation: Implementation) -> ContractIds:
    return _capability(implementation, "contract_ids")


@pytest.fixture(scope="session")
def find_offsets(implementation: Implementation) -> FindOffsets:
    return _capability(implementation, "find_offsets")


@pytest.fixture(scope="session")
def pad_ids(implementation: Implementation) -> PadIds:
    return _capability(implementation, "pad_ids")


@pytest.fixture(scope="session")
def place_positions(implementation: Implementation) -> PlacePositions:
    return _capability(implementation, "place_positions")


@pytest.fixture(scope="session")
def window_positions(implementation: Implementation) -> WindowPositions:
    return _capability(implementation, "window_positions")


@pytest.fixture(scope="session")
def split_rows(implementation: Implementation) -> SplitRows:
    return _capability(implementation, "split_rows")


@pytest.fixture(scope="session")
def stream_text(implementation: Implementation) -> StreamText:
    return _capability(implementation, "stream_text")
