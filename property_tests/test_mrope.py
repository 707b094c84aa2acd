"""Invariant 10: positions are [3, tokens], follow the published rule in every row, and windows of them join up."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import example, given
from hypothesis import strategies as st

from harness.implementations.base import PlacePositions, Positions, WindowPositions
from property_tests.spec import mrope, window
from property_tests.strategies import Placed, build_placed, placed_prompts

TEXT_ONLY = build_placed([5], [])
WIDE = build_placed([2, 3], [(1, 7)])
TALL = build_placed([2, 3], [(7, 1)])
ADJACENT = build_placed([0, 0, 0], [(2, 3), (3, 2)])
ADJACENT_CELLS = build_placed([0, 0, 0], [(1, 1), (1, 1)])


def place(function: PlacePositions, prompt: Placed) -> Positions:
    return function(prompt.length, prompt.spans, prompt.grids, prompt.merge_size)


def specified(prompt: Placed) -> Positions:
    return mrope(prompt.length, prompt.spans, prompt.grids, prompt.merge_size)


@example(prompt=TEXT_ONLY)
@example(prompt=WIDE)
@example(prompt=TALL)
@given(prompt=placed_prompts())
def test_shape_is_three_rows_of_one_number_a_token(place_positions: PlacePositions, prompt: Placed) -> None:
    rows = place(place_positions, prompt).rows
    assert [len(row) for row in rows] == [prompt.length] * 3


@example(prompt=TEXT_ONLY)
@example(prompt=WIDE)
@example(prompt=TALL)
@given(prompt=placed_prompts())
def test_rows_are_the_published_ones(place_positions: PlacePositions, prompt: Placed) -> None:
    assert place(place_positions, prompt).rows == specified(prompt).rows


@example(prompt=TEXT_ONLY)
@example(prompt=WIDE)
@given(prompt=placed_prompts())
def test_delta_continues_one_past_the_largest_position(place_positions: PlacePositions, prompt: Placed) -> None:
    positions = place(place_positions, prompt)
    assert prompt.length + positions.delta == max(map(max, positions.rows)) + 1
    assert positions.delta == specified(prompt).delta


@example(prompt=ADJACENT)
@example(prompt=ADJACENT_CELLS)
@given(prompt=placed_prompts(min_gap=0))
def test_images_with_no_text_between_keep_their_own_places(place_positions: PlacePositions, prompt: Placed) -> None:
    assert place(place_positions, prompt) == specified(prompt)


@given(prompt=placed_prompts(min_gap=0), cuts=st.lists(st.integers(0, 80), max_size=4), decoded=st.integers(0, 5))
def test_windows_join_to_the_whole(
    place_positions: PlacePositions, window_positions: WindowPositions, prompt: Placed, cuts: list[int], decoded: int
) -> None:
    """Wherever a prompt is cut, inside an image or past its end, the pieces are the whole."""
    positions = place(place_positions, prompt)
    stop = prompt.length + decoded
    edges = [0, *sorted(min(cut, stop) for cut in cuts), stop]
    pieces = [window_positions(positions, a, b) for a, b in pairwise(edges) if a < b]
    joined = [[number for piece in pieces for number in piece[row]] for row in range(3)]
    assert joined == window_positions(positions, 0, stop) == window(specified(prompt), 0, stop)


@example(prompt=WIDE, ahead=0)
@example(prompt=TALL, ahead=3)
@given(prompt=placed_prompts(min_gap=0), ahead=st.integers(0, 50))
def test_decoded_tokens_follow_the_delta(
    place_positions: PlacePositions, window_positions: WindowPositions, prompt: Placed, ahead: int
) -> None:
    positions = place(place_positions, prompt)
    index = prompt.length + ahead
    expected = max(map(max, specified(prompt).rows)) + 1 + ahead
    assert window_positions(positions, index, index + 1) == [[expected]] * 3
