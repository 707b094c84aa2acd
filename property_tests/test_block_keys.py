"""Invariant 5: keys of a prefix cache change at the first position of another image, and not for what follows."""

from __future__ import annotations

from itertools import accumulate

from hypothesis import example, given
from hypothesis import strategies as st

from harness.implementations.base import BlockKeys, Span
from property_tests.strategies import Layout, build_layout, layouts

block_sizes = st.sampled_from([1, 2, 4, 16])
AT_A_BOUNDARY = build_layout([[1, 2, 3, 4], [5, 6, 7]], [[4]])
OVER_ONE = build_layout([[1, 2, 3], [5, 6]], [[6]])
ADJACENT = build_layout([[1], [], [2, 3]], [[3], [3]])


def items_of(layout: Layout, *, last: int = 0) -> list[tuple[list[Span], int]]:
    """Every item with a number of its own; the last one's moved by ``last``."""
    numbers = [*range(100, 99 + len(layout.spans)), 99 + len(layout.spans) + last]
    return list(zip(layout.spans, numbers, strict=True))


@example(layout=AT_A_BOUNDARY, block_size=4)
@example(layout=OVER_ONE, block_size=4)
@example(layout=ADJACENT, block_size=2)
@given(layout=layouts(min_items=1), block_size=block_sizes)
def test_another_image_changes_keys_from_its_first_block_on_and_none_before(
    block_keys: BlockKeys, layout: Layout, block_size: int
) -> None:
    one = block_keys(layout.expanded, items_of(layout), block_size)
    other = block_keys(layout.expanded, items_of(layout, last=1000), block_size)
    first = layout.spans[-1][0][0] // block_size
    assert [k for k, (a, b) in enumerate(zip(one, other, strict=True)) if a != b] == list(range(first, len(one)))


@example(layout=OVER_ONE, block_size=2)
@example(layout=ADJACENT, block_size=1)
@given(layout=layouts(min_items=1), block_size=block_sizes)
def test_keys_know_nothing_of_what_follows(block_keys: BlockKeys, layout: Layout, block_size: int) -> None:
    """A shorter prompt finds what a longer one with the same beginning left behind."""
    end = layout.spans[-1][0][0]
    shorter = block_keys(layout.expanded[:end], items_of(layout)[:-1], block_size)
    assert list(shorter) == list(block_keys(layout.expanded, items_of(layout), block_size))[: len(shorter)]
    assert len(shorter) == end // block_size


def test_as_many_images_as_block_keys(block_keys: BlockKeys) -> None:
    """LMCache#3301 kept few bits of an image's digest."""
    keys = {block_keys([1, 7, 7, 2], [([(1, 2)], number)], 4)[0] for number in range(400)}
    assert len(keys) == 400


@given(texts=st.lists(st.integers(8, 50), min_size=8, max_size=12), change=st.integers(0, 7))
def test_another_text_changes_keys_from_its_block_on(block_keys: BlockKeys, texts: list[int], change: int) -> None:
    other = [token + (place == change) for place, token in enumerate(texts)]
    differs = [a != b for a, b in zip(block_keys(texts, [], 2), block_keys(other, [], 2), strict=True)]
    assert differs == list(accumulate((place == change // 2 for place in range(len(texts) // 2)), max))
