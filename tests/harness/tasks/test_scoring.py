from __future__ import annotations

import pytest

from harness.errors import UsageError
from harness.tasks.scoring import find_scorer

FRUITS = ("apple", "pear", "red apple")


@pytest.mark.parametrize(
    ("scorer", "answer", "right", "holds"),
    [
        ("exact", " 42\n", "42", True),
        ("exact", "The 42", "42", False),
        ("contains", "It is a Red Apple.", "red apple", True),
        ("contains", "It is a pineapple.", "apple", False),
        ("contains", "\uff14\uff12 of them", "42", True),
        ("number", "The total is 1,200.", "1200.0", True),
        ("number", "first 7, then 12", "7", False),
        ("number", "that is 40%", "0.4", True),
        ("number", "-3.50 degrees", "-3.5", True),
        ("number", "none", "0", False),
        ("choice", "(B) since it is green", "pear", True),
        ("choice", "b", "B", True),
        ("choice", "Because", "B", False),
        ("choice", "It is the pear.", "pear", True),
        ("choice", "apple or pear", "pear", False),
        ("choice", "D", "pear", False),
    ],
)
def test_scorers(scorer: str, answer: str, right: str, holds: bool) -> None:
    assert find_scorer(scorer)(answer, right, FRUITS) is holds


def test_a_right_answer_that_is_no_choice_is_refused() -> None:
    with pytest.raises(UsageError, match="'plum' is neither one of the choices"):
        find_scorer("choice")("plum", "plum", FRUITS)


def test_an_unknown_scorer_is_named() -> None:
    with pytest.raises(UsageError, match="'bleu'; known: exact, contains, number, choice"):
        find_scorer("bleu")
