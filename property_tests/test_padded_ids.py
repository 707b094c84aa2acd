"""Invariant 5, prefix keys (sglang#26116): an item's value fills its spans, both ends included, and nothing else."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from harness.implementations.base import PadIds, Span
from property_tests.spec import padded
from property_tests.strategies import Layout, build_layout, layouts


def items_of(layout: Layout) -> list[tuple[list[Span], int]]:
    """Values outside any vocabulary, one an item."""
    return [(spans, 1_000_000 + k) for k, spans in enumerate(layout.spans)]


@example(layout=build_layout([[1], [2]], [[1]]))
@example(layout=build_layout([[], []], [[3]]))
@example(layout=build_layout([[1], [], [2]], [[2], [3]]))
@example(layout=build_layout([[1], [2], [3], [4]], [[2], [2, 1, 3], [4]]))
@given(layout=layouts())
def test_spans_hold_the_value_and_the_rest_is_untouched(pad_ids: PadIds, layout: Layout) -> None:
    assert pad_ids(layout.expanded, items_of(layout)) == padded(layout.expanded, items_of(layout))


@given(layout=layouts(min_items=1))
def test_both_ends_of_every_span_are_inside(pad_ids: PadIds, layout: Layout) -> None:
    result = pad_ids(layout.expanded, items_of(layout))
    for spans, value in items_of(layout):
        assert [(result[start], result[end]) for start, end in spans] == [(value, value)] * len(spans)


@given(layout=layouts(min_items=1), value=st.integers(1_000, 2_000))
def test_another_image_changes_ids_from_its_first_position_on_and_none_before(
    pad_ids: PadIds, layout: Layout, value: int
) -> None:
    items = items_of(layout)
    last_spans, _ = items[-1]
    changed = pad_ids(layout.expanded, [*items[:-1], (last_spans, value)])
    original = pad_ids(layout.expanded, items)
    differing = [k for k, (a, b) in enumerate(zip(original, changed, strict=True)) if a != b]
    assert differing == [k for start, end in last_spans for k in range(start, end + 1)]


@given(layout=layouts())
def test_the_ids_passed_in_are_not_changed(pad_ids: PadIds, layout: Layout) -> None:
    before = list(layout.expanded)
    pad_ids(layout.expanded, items_of(layout))
    assert layout.expanded == before
