"""Invariants 2 and 3: split(concat(items)) == items for any mix; a mismatch fails that item alone (sglang#26442)."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from harness.implementations.base import Refusal, SplitRows
from property_tests.strategies import EncoderBatch, batches, build_batch, span_counts

SEVERAL_FIRST = build_batch([[2, 3, 1], [4], [2]])
SEVERAL_MIDDLE = build_batch([[4], [2, 3, 1], [2]])
SEVERAL_LAST = build_batch([[4], [2], [2, 3, 1]])
EQUAL_TOTALS = build_batch([[3, 2], [2, 3], [5], [1, 4]])
others = st.lists(span_counts(), max_size=3)
uneven_counts = st.lists(st.integers(1, 9), min_size=1, max_size=3).map(lambda counts: [*counts, counts[0] + 1])
"""Spans of one item that are not the same read backwards."""


@example(batch=SEVERAL_FIRST)
@example(batch=SEVERAL_MIDDLE)
@example(batch=SEVERAL_LAST)
@example(batch=EQUAL_TOTALS)
@given(batch=batches())
def test_every_item_gets_its_own_rows(split_rows: SplitRows, batch: EncoderBatch) -> None:
    assert split_rows(batch.rows, batch.counts, batch.counts) == batch.items


@given(batch=batches(min_items=2))
def test_a_batch_is_its_items_alone(split_rows: SplitRows, batch: EncoderBatch) -> None:
    alone = [split_rows(item, [counts], [counts])[0] for item, counts in zip(batch.items, batch.counts, strict=True)]
    assert split_rows(batch.rows, batch.counts, batch.counts) == alone


@example(batch=SEVERAL_FIRST, item=0, span=1, change=1)
@example(batch=SEVERAL_MIDDLE, item=1, span=0, change=1)
@example(batch=SEVERAL_LAST, item=2, span=2, change=-1)
@given(batch=batches(), item=st.integers(0, 5), span=st.integers(0, 3), change=st.sampled_from([-1, 1, 2]))
def test_a_mismatch_fails_that_item_alone(
    split_rows: SplitRows, batch: EncoderBatch, item: int, span: int, change: int
) -> None:
    """The encoder returned other rows for one span than it holds: no padding, no cutting, no harm to neighbours."""
    item %= len(batch.counts)
    span %= len(batch.counts[item])
    expected = [list(counts) for counts in batch.counts]
    expected[item][span] += change
    results = split_rows(batch.rows, batch.counts, expected)
    assert isinstance(results[item], Refusal)
    assert results[:item] + results[item + 1 :] == batch.items[:item] + batch.items[item + 1 :]


@example(before=[], uneven=[3, 2], after=[[5]])
@example(before=[[5]], uneven=[1, 4], after=[])
@given(before=others, uneven=uneven_counts, after=others)
def test_equal_totals_with_other_boundaries_are_a_mismatch(
    split_rows: SplitRows, before: list[list[int]], uneven: list[int], after: list[list[int]]
) -> None:
    """As many rows as the item holds, but shared out otherwise among its spans."""
    batch, item = build_batch([*before, uneven, *after]), len(before)
    results = split_rows(batch.rows, batch.counts, [*before, uneven[::-1], *after])
    assert isinstance(results[item], Refusal)
    assert results[:item] + results[item + 1 :] == batch.items[:item] + batch.items[item + 1 :]
