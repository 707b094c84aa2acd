"""Invariant 1: each image lies in expanded ids where it was put: ends inclusive, every span, adjacent ones apart."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from harness.implementations.base import FindOffsets, Refusal
from property_tests.strategies import PLACEHOLDER, Layout, build_layout, layouts


@example(layout=build_layout([[1], [], [2]], [[3], [4]]))
@example(layout=build_layout([[], [5], []], [[1], [1]]))
@example(layout=build_layout([[1], [2], [3], [4]], [[2], [2, 1, 3], [4]]))
@given(layout=layouts())
def test_offsets_are_where_the_images_were_put(find_offsets: FindOffsets, layout: Layout) -> None:
    assert find_offsets(layout.expanded, PLACEHOLDER, layout.counts) == layout.spans


@given(layout=layouts(min_items=1))
def test_an_offset_holds_as_many_tokens_as_were_counted(find_offsets: FindOffsets, layout: Layout) -> None:
    spans = find_offsets(layout.expanded, PLACEHOLDER, layout.counts)
    assert [[end - start + 1 for start, end in item] for item in spans] == layout.counts


@given(layout=layouts(min_items=1), change=st.sampled_from([-1, 1]))
def test_counts_that_disagree_are_refused(find_offsets: FindOffsets, layout: Layout, change: int) -> None:
    counts = [*layout.counts[:-1], [*layout.counts[-1][:-1], layout.counts[-1][-1] + change]]
    with pytest.raises(Refusal):
        find_offsets(layout.expanded, PLACEHOLDER, counts)
