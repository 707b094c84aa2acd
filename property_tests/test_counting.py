"""Invariant 1, text side: the tokens counted for an image are those of the published resizing rule, for any size."""

from __future__ import annotations

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from harness.implementations.base import CountBandedTokens, CountTokens, ExpandIds, ImageGeometry, Refusal, Size
from property_tests.spec import band_heights, resized, token_count
from property_tests.strategies import PLACEHOLDER, build_layout, sizes, steer_to_edges, with_reported_sizes

GEOMETRY = ImageGeometry()


@with_reported_sizes
@given(size=sizes())
def test_count_is_the_published_one(count_tokens: CountTokens, size: Size) -> None:
    expected = token_count(steer_to_edges(size), GEOMETRY)
    if expected is None:
        with pytest.raises(Refusal):
            count_tokens([size], GEOMETRY)
    else:
        assert count_tokens([size], GEOMETRY) == [[expected]]


@with_reported_sizes
@given(size=sizes())
def test_transposed_image_has_as_many_tokens(count_tokens: CountTokens, size: Size) -> None:
    """The rule treats both sides alike, so counting (height, width) for (width, height) shows here or nowhere."""
    assume(token_count(size, GEOMETRY) is not None)
    width, height = size
    assert count_tokens([(width, height)], GEOMETRY) == count_tokens([(height, width)], GEOMETRY)


@given(many=st.lists(sizes(400), min_size=1, max_size=6))
def test_each_image_is_counted_by_itself(count_tokens: CountTokens, many: list[Size]) -> None:
    assume(all(token_count(size, GEOMETRY) is not None for size in many))
    assert count_tokens(many, GEOMETRY) == [count_tokens([size], GEOMETRY)[0] for size in many]


@given(size=sizes(600), low=st.integers(1, 8), high=st.integers(8, 80))
def test_pixel_limits_are_kept(count_tokens: CountTokens, size: Size, low: int, high: int) -> None:
    geometry = ImageGeometry(min_pixels=low * 28 * 28, max_pixels=high * 28 * 28)
    expected = resized(size, geometry)
    assume(expected is not None)
    assert count_tokens([size], geometry) == [[token_count(size, geometry)]]


@given(many=st.lists(sizes(300), min_size=1, max_size=4))
def test_expanding_what_was_counted_holds_that_many(
    count_tokens: CountTokens, expand_ids: ExpandIds, many: list[Size]
) -> None:
    assume(all(token_count(size, GEOMETRY) is not None for size in many))
    counts = count_tokens(many, GEOMETRY)
    layout = build_layout([[1]] * (len(many) + 1), counts)
    expansion = expand_ids(layout.ids, PLACEHOLDER, layout.replacements)
    assert expansion.ids.count(PLACEHOLDER) == sum(map(sum, counts))
    for spans, item in zip(expansion.spans, counts, strict=True):
        assert [end - start + 1 for start, end in spans] == item


@example(size=(84, 29), band_cells=1)
@example(size=(56, 2 * 56 + 27), band_cells=2)
@example(size=(56, 2 * 56 + 28), band_cells=2)
@given(size=sizes(600), band_cells=st.integers(1, 6))
def test_a_banded_image_counts_as_its_bands(
    count_banded_tokens: CountBandedTokens, size: Size, band_cells: int
) -> None:
    width, height = size
    bands = [token_count((width, band), GEOMETRY) for band in band_heights(height, band_cells, GEOMETRY.cell)]
    if None in bands:
        with pytest.raises(Refusal):
            count_banded_tokens([size], GEOMETRY, band_cells)
    else:
        assert count_banded_tokens([size], GEOMETRY, band_cells) == [bands]
