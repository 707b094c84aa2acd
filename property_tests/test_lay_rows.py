"""Invariants 3 and 12: a chunk's embeddings are its text's, with each image row at its place, none lost or spread."""

from __future__ import annotations

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from harness.implementations.base import LayRows, Refusal, Row

places_of = st.lists(st.booleans(), min_size=1, max_size=24).map(
    lambda held: (len(held), [k for k, h in enumerate(held) if h])
)
BETWEEN = (6, [1, 2, 4])


def embeddings(count: int, first: int) -> list[Row]:
    return [(float(first + k), float(-first - k)) for k in range(count)]


@example(chunk=BETWEEN)
@example(chunk=(3, [0, 1, 2]))
@example(chunk=(2, []))
@given(chunk=places_of)
def test_rows_are_laid_in_order_and_text_stays(lay_rows: LayRows, chunk: tuple[int, list[int]]) -> None:
    length, places = chunk
    text, rows = embeddings(length, 0), embeddings(len(places), 1000)
    at = dict(zip(places, rows, strict=True))
    assert [tuple(row) for row in lay_rows(text, rows, places)] == [at.get(k, text[k]) for k in range(length)]


@example(chunk=BETWEEN, rows=1)
@example(chunk=BETWEEN, rows=4)
@example(chunk=BETWEEN, rows=2)
@given(chunk=places_of, rows=st.integers(1, 25))
def test_as_many_rows_as_places_or_none_at_all(lay_rows: LayRows, chunk: tuple[int, list[int]], rows: int) -> None:
    length, places = chunk
    assume(rows != len(places))
    with pytest.raises(Refusal):
        lay_rows(embeddings(length, 0), embeddings(rows, 1000), places)
