"""Invariants 6 and 10 (sglang#26116): what a processor made before is used only where it belongs to this prompt."""

from __future__ import annotations

from typing import Any

from hypothesis import assume, example, given
from hypothesis import strategies as st

from harness.implementations.base import Positions, Refusal, ReuseIds, ReusePositions
from property_tests.spec import mrope
from property_tests.strategies import Placed, build_placed, placed_prompts

ids = st.lists(st.integers(0, 30), min_size=1, max_size=12)
PROMPT = build_placed([2, 3], [(2, 3)])


def of(prompt: Placed) -> Positions:
    return mrope(prompt.length, prompt.spans, prompt.grids, prompt.merge_size)


def used(reuse: ReusePositions, rows: list[Any], delta: int, length: int) -> Positions | None:
    """Refusing them is as good as making them again."""
    try:
        return reuse(rows, delta, length)
    except Refusal:
        return None


@example(prompt=PROMPT)
@given(prompt=placed_prompts())
def test_positions_of_this_prompt_are_used(reuse_positions: ReusePositions, prompt: Placed) -> None:
    own = of(prompt)
    assert used(reuse_positions, own.rows, own.delta, prompt.length) == own


@example(prompt=PROMPT, longer=1)
@example(prompt=PROMPT, longer=-1)
@given(prompt=placed_prompts(), longer=st.integers(-4, 4).filter(bool))
def test_positions_of_another_length_are_not_used(reuse_positions: ReusePositions, prompt: Placed, longer: int) -> None:
    assume(prompt.length + longer > 0)
    own = of(prompt)
    assert used(reuse_positions, own.rows, own.delta, prompt.length + longer) is None


@example(prompt=PROMPT, rows=1)
@example(prompt=PROMPT, rows=4)
@given(prompt=placed_prompts(), rows=st.sampled_from([1, 2, 4]))
def test_positions_of_another_number_of_rows_are_not_used(
    reuse_positions: ReusePositions, prompt: Placed, rows: int
) -> None:
    own = of(prompt)
    assert used(reuse_positions, [*own.rows, own.rows[0]][:rows], own.delta, prompt.length) is None
    assert used(reuse_positions, [[*own.rows, own.rows[0]][:rows]], own.delta, prompt.length) is None


@example(prompt=PROMPT, moved=1)
@given(prompt=placed_prompts(), moved=st.integers(-5, 5).filter(bool))
def test_a_delta_that_is_not_theirs_is_not_used(reuse_positions: ReusePositions, prompt: Placed, moved: int) -> None:
    own = of(prompt)
    assert used(reuse_positions, own.rows, own.delta + moved, prompt.length) is None


@example(given=[1, 2, 3], place=1)
@given(given=ids, place=st.integers(0, 11))
def test_other_ids_of_the_same_length_are_another_prompt(reuse_ids: ReuseIds, given: list[int], place: int) -> None:
    """The last id counts, and the first."""
    other = [token + (k == place % len(given)) for k, token in enumerate(given)]
    assert reuse_ids(given, list(given))
    assert not reuse_ids(given, other)
    assert not reuse_ids(given, [*given, given[-1]])
