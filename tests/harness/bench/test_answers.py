from __future__ import annotations

import pytest

from harness.bench.answers import compare
from harness.bench.contestants.base import Answered

RIGHT = {"a": (1, 2, 3), "b": (4,)}


def decode(ids: object) -> str:
    return str(ids)


def given(**answers: tuple[int, ...]) -> list[Answered]:
    return [Answered(name, ids, 0.1) for name, ids in answers.items()]


def test_equal_answers_agree_in_any_order() -> None:
    assert compare(RIGHT, given(b=(4,), a=(1, 2, 3)), decode).whole


@pytest.mark.parametrize(
    ("answers", "same", "first"),
    [
        ({"a": (1, 5, 3), "b": (4,)}, 1, "a parts at token 1: 5 for 2"),
        ({"a": (1, 2), "b": (4,)}, 1, "a parts at token 2: the end for 3"),
        ({"a": (1, 2, 3, 4), "b": (4,)}, 1, "a parts at token 3: 4 for the end"),
        ({"a": (1, 2, 3)}, 1, "b has no answer"),
        ({"a": (1, 2, 3), "b": (4,), "c": (5,)}, 1, "c was not asked"),
        ({}, 0, "a has no answer"),
    ],
)
def test_every_difference_counts_and_the_first_is_told(
    answers: dict[str, tuple[int, ...]], same: int, first: str
) -> None:
    agreement = compare(RIGHT, given(**answers), decode)
    assert (agreement.same, agreement.first, agreement.whole) == (same, first, False)


def test_an_error_and_a_second_answer_are_differences() -> None:
    failed = Answered("b", (4,), 0.1, error="refused")
    assert compare(RIGHT, [*given(a=(1, 2, 3)), failed], decode).first == "b failed: refused"
    assert not compare(RIGHT, [*given(a=(1, 2, 3), b=(4,)), *given(b=(4,))], decode).whole


def test_text_is_compared_where_there_are_no_ids() -> None:
    answers = [Answered("a", None, 0.1, "(1, 2, 3)"), Answered("b", None, 0.1, "(5,)")]
    assert compare(RIGHT, answers, decode).first == "b has another text: '(5,)' for '(4,)'"


def test_nothing_compared_is_not_agreement() -> None:
    assert not compare({}, [], decode).whole
