"""Times of the pure functions on prompts of a realistic size. A default run only checks that they work at that size.

``pytest property_tests/benchmarks --benchmark-enable -n0`` measures, and tells each time as a multiple of a calibration
loop beside the multiple that was stored (:mod:`property_tests.benchmarks.conftest`). Figures hold the crossing to plain
lists, so they compare versions of one implementation, not what a step of an engine costs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from harness.implementations.base import (
    CountTokens,
    ExpandIds,
    ImageGeometry,
    PadIds,
    PlacePositions,
    SplitRows,
    WindowPositions,
)
from property_tests.strategies import PLACEHOLDER, Layout, Placed, build_batch, build_layout, build_placed

IMAGES, SIDE, TEXT = 8, 32, 200
"""Eight images of 32x32 tokens with 200 text tokens around each: 9,992 tokens in all."""

Benchmark = Callable[..., Any]
pytestmark = pytest.mark.benchmark(group="pure functions")


@pytest.fixture(scope="module")
def layout() -> Layout:
    return build_layout([list(range(100, 100 + TEXT))] * (IMAGES + 1), [[SIDE * SIDE]] * IMAGES)


@pytest.fixture(scope="module")
def prompt() -> Placed:
    return build_placed([TEXT] * (IMAGES + 1), [(SIDE, SIDE)] * IMAGES)


def test_counting(benchmark: Benchmark, count_tokens: CountTokens) -> None:
    geometry = ImageGeometry(max_pixels=SIDE * SIDE * 28 * 28)
    assert benchmark(count_tokens, [(1920, 1080)] * IMAGES, geometry) == [[24 * 42]] * IMAGES


def test_expanding(benchmark: Benchmark, expand_ids: ExpandIds, layout: Layout) -> None:
    assert benchmark(expand_ids, layout.ids, PLACEHOLDER, layout.replacements).ids == layout.expanded


def test_padding(benchmark: Benchmark, pad_ids: PadIds, layout: Layout) -> None:
    items = [(spans, 1_000_000 + k) for k, spans in enumerate(layout.spans)]
    assert benchmark(pad_ids, layout.expanded, items).count(1_000_000) == SIDE * SIDE


def test_placing(benchmark: Benchmark, place_positions: PlacePositions, prompt: Placed) -> None:
    positions = benchmark(place_positions, prompt.length, prompt.spans, prompt.grids, prompt.merge_size)
    assert len(positions.rows[0]) == prompt.length


def test_windowing(
    benchmark: Benchmark, place_positions: PlacePositions, window_positions: WindowPositions, prompt: Placed
) -> None:
    """One decoded token's positions."""
    positions = place_positions(prompt.length, prompt.spans, prompt.grids, prompt.merge_size)
    window = benchmark(window_positions, positions, prompt.length, prompt.length + 1)
    assert window == [[prompt.length + positions.delta]] * 3


def test_splitting(benchmark: Benchmark, split_rows: SplitRows) -> None:
    batch = build_batch([[64, 64]] * IMAGES + [[128]] * IMAGES)
    assert benchmark(split_rows, batch.rows, batch.counts, batch.counts) == batch.items
