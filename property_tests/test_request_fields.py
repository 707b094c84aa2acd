"""Invariant 9: what was asked for a batch is asked of every request in it, for every field that is declared."""

from __future__ import annotations

import pytest

from harness.implementations.base import SpreadBatch


@pytest.mark.parametrize("size", [2, 3])
def test_every_field_reaches_every_request_of_a_batch(spread_batch: SpreadBatch, size: int) -> None:
    lost = {name: got for name, given, got in spread_batch(size) if list(got) != [given] * size}
    assert not lost
