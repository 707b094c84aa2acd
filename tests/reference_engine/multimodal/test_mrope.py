"""MRoPE positions equal the model's own get_rope_index, and any window of them equals the whole."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reference_engine.multimodal.mrope import chunk_positions, decode_positions, mrope_positions

grids = st.tuples(st.just(1), st.integers(1, 8).map(lambda n: 2 * n), st.integers(1, 8).map(lambda n: 2 * n))


@st.composite
def layouts(draw: st.DrawFn, apart: int = 0) -> tuple[int, list[Any], list[Any]]:
    """Length, spans, grids; at least ``apart`` text tokens between images."""
    chosen = draw(st.lists(grids, max_size=4))
    token, spans = draw(st.integers(0, 5)), []
    for _, h, w in chosen:
        spans.append((token, token + h * w // 4 - 1))
        token = spans[-1][1] + 1 + draw(st.integers(apart, 5))
    return max(token, 1), spans, chosen


def test_equal_to_transformers(bench: Any) -> None:
    model = bench.oracle.model.model

    @given(layouts(apart=1))
    def equal(layout: Any) -> None:
        length, spans, chosen = layout
        kinds = torch.zeros(1, length, dtype=torch.int32)
        for start, end in spans:
            kinds[0, start : end + 1] = 1
        grid = torch.tensor(chosen) if chosen else None
        expected, delta = model.get_rope_index(torch.zeros(1, length, dtype=torch.int64), kinds, image_grid_thw=grid)
        positions, our_delta = mrope_positions(length, spans, chosen, 2)
        assert torch.equal(positions, expected[:, 0])
        assert our_delta == int(delta)

    equal()


@given(layouts(), st.integers(0, 60), st.integers(0, 60))
def test_a_window_is_a_window(layout: Any, start: int, size: int) -> None:
    length, spans, chosen = layout
    positions, delta = mrope_positions(length, spans, chosen, 2)
    beyond = torch.arange(length, length + 200).expand(3, -1) + delta
    whole = torch.cat([positions, beyond], dim=1)
    window = chunk_positions(positions, delta, start, start + size)
    assert window.shape == (3, size)
    assert torch.equal(window, whole[:, start : start + size])
    assert torch.equal(decode_positions([length + 3], [delta]), whole[:, length + 3 : length + 4])


@given(layouts())
def test_images_with_nothing_between_are_placed_one_after_the_other(layout: Any) -> None:
    length, spans, chosen = layout
    positions, _ = mrope_positions(length, spans, chosen, 2)
    for (start, end), (_, h, w) in zip(spans, chosen, strict=True):
        first = 0 if start == 0 else int(positions[:, :start].max()) + 1
        assert positions[:, start].tolist() == [first] * 3
        assert positions[1:, start : end + 1].amax(1).tolist() == [first + h // 2 - 1, first + w // 2 - 1]


def test_a_span_that_does_not_fit_its_grid_is_refused() -> None:
    with pytest.raises(ValueError, match=r"span \(1, 5\) does not fit grid \(1, 4, 6\)"):
        mrope_positions(8, [(1, 5)], [(1, 4, 6)], 2)
