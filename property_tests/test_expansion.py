"""Invariant 6: ids run are the ids sent, except each placeholder expanded exactly once."""

from __future__ import annotations

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from harness.implementations.base import ContractIds, ExpandIds, Expansion, Refusal
from property_tests.strategies import PLACEHOLDER, Layout, build_layout, layouts, text_ids

ADJACENT = build_layout([[1], [], [2]], [[3], [4]])
FIRST_AND_LAST = build_layout([[], [5], []], [[2], [6]])
SEVERAL_SPANS_FIRST = build_layout([[1], [2], [3]], [[2, 3, 1], [4]])
SEVERAL_SPANS_LAST = build_layout([[1], [2], [3]], [[4], [2, 3, 1]])
ONLY_IMAGES = build_layout([[], [], []], [[1], [1]])


@example(layout=ADJACENT)
@example(layout=FIRST_AND_LAST)
@example(layout=SEVERAL_SPANS_FIRST)
@example(layout=SEVERAL_SPANS_LAST)
@example(layout=ONLY_IMAGES)
@given(layout=layouts())
def test_placeholders_expand_in_place(expand_ids: ExpandIds, layout: Layout) -> None:
    expansion = expand_ids(layout.ids, PLACEHOLDER, layout.replacements)
    assert expansion.ids == layout.expanded
    assert expansion.spans == layout.spans


@example(layout=ADJACENT)
@example(layout=SEVERAL_SPANS_FIRST)
@example(layout=SEVERAL_SPANS_LAST)
@given(layout=layouts())
def test_expanding_twice_is_expanding_once(expand_ids: ExpandIds, layout: Layout) -> None:
    """Some clients send ids that are expanded already."""
    once = expand_ids(layout.ids, PLACEHOLDER, layout.replacements)
    assert expand_ids(once.ids, PLACEHOLDER, layout.replacements) == once


@given(layout=layouts())
def test_contracting_gives_back_the_ids_sent(expand_ids: ExpandIds, contract_ids: ContractIds, layout: Layout) -> None:
    expansion = expand_ids(layout.ids, PLACEHOLDER, layout.replacements)
    assert contract_ids(expansion, PLACEHOLDER, layout.replacements) == layout.ids


@given(layout=layouts(max_spans=1))
def test_text_ids_are_untouched(expand_ids: ExpandIds, layout: Layout) -> None:
    """Whatever the ids are, a tokenizer's own choice or not, they come through one by one and in order."""
    expansion = expand_ids(layout.ids, PLACEHOLDER, layout.replacements)
    inside = {k for spans in expansion.spans for start, end in spans for k in range(start, end + 1)}
    text = [token for k, token in enumerate(expansion.ids) if k not in inside]
    assert text == [token for token in layout.ids if token != PLACEHOLDER]


@given(ids=text_ids())
def test_without_images_nothing_changes(expand_ids: ExpandIds, ids: list[int]) -> None:
    assert expand_ids(ids, PLACEHOLDER, []) == Expansion(ids, [])


@given(layout=layouts(min_items=1), count=st.integers(2, 9))
def test_an_image_without_placeholder_is_refused(expand_ids: ExpandIds, layout: Layout, count: int) -> None:
    with pytest.raises(Refusal):
        expand_ids(layout.ids, PLACEHOLDER, [*layout.replacements, [PLACEHOLDER] * count])


@given(layout=layouts(min_items=1))
def test_a_placeholder_without_image_is_refused(expand_ids: ExpandIds, layout: Layout) -> None:
    assume(layout.placeholders + 1 != sum(map(sum, layout.counts)))  # could be read as expanded already
    with pytest.raises(Refusal):
        expand_ids([*layout.ids, 1, PLACEHOLDER], PLACEHOLDER, layout.replacements)
