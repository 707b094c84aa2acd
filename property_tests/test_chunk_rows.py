"""Invariants 11 and 12: wherever a prompt is cut, the pieces get the rows that the whole gets and no others."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import example, given
from hypothesis import strategies as st

from harness.implementations.base import ChunkRows
from property_tests.strategies import EncoderBatch, batches, build_batch

ONE, SEVERAL = build_batch([[3], [2]]), build_batch([[2, 3], [4], [1, 1, 1]])


def length(batch: EncoderBatch) -> int:
    """One text token, then every span with one text token after it."""
    return 1 + sum(count + 1 for item in batch.counts for count in item)


@example(batch=ONE)
@example(batch=SEVERAL)
@given(batch=batches(max_items=4))
def test_the_whole_prompt_gets_every_row_in_order(chunk_rows: ChunkRows, batch: EncoderBatch) -> None:
    got = chunk_rows(batch.rows, batch.counts, 0, length(batch))
    assert [tuple(row) for row in got] == batch.rows


@example(batch=ONE, cuts=[2])
@example(batch=SEVERAL, cuts=[2, 3, 5, 11])
@given(batch=batches(max_items=4), cuts=st.lists(st.integers(0, 60), max_size=5))
def test_chunks_join_to_the_whole(chunk_rows: ChunkRows, batch: EncoderBatch, cuts: list[int]) -> None:
    edges = sorted({0, length(batch), *(cut for cut in cuts if cut < length(batch))})
    pieces = [chunk_rows(batch.rows, batch.counts, a, b) for a, b in pairwise(edges)]
    assert [tuple(row) for piece in pieces for row in piece] == batch.rows
