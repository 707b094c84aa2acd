"""Invariants 2 and 3: split(concat(items)) == items for any mix; a mismatch fails that item alone (sglang#26442)."""

from __future__ import annotations

from hypothesis import assume, example, given
from hypothesis import strategies as st

from harness.implementations.base import Refusal, SplitRows
from property_tests.strategies import EncoderBatch, batches, build_batch

SEVERAL_FIRST = build_batch([[2, 3, 1], [4], [2]])
SEVERAL_MIDDLE = build_batch([[4], [2, 3, 1], [2]])
SEVERAL_LAST = build_batch([[4], [2], [2, 3, 1]])
EQUAL_TOTALS = build_batch([[3, 2], [2, 3], [5], [1, 4]])


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


@example(batch=build_batch([[3, 2], [5]]), item=0)
@example(batch=build_batch([[5], [1, 4]]), item=1)
@given(batch=batches(), item=st.integers(0, 5))
def test_equal_totals_with_other_boundaries_are_a_mismatch(
    split_rows: SplitRows, batch: EncoderBatch, item: int
) -> None:
    """As many rows as the item holds, but shared out otherwise among its spans."""
    item %= len(batch.counts)
    expected = [list(counts) for counts in batch.counts]
    expected[item].reverse()
    assume(expected[item] != batch.counts[item])
    results = split_rows(batch.rows, batch.counts, expected)
    assert isinstance(results[item], Refusal)
    assert results[:item] + results[item + 1 :] == batch.items[:item] + batch.items[item + 1 :]
