"""How an answer is held against the right one. Each scorer takes (answer, right answer, choices)."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from decimal import Decimal, InvalidOperation

from harness.errors import UsageError

Scorer = Callable[[str, str, Sequence[str]], bool]
NUMBER = re.compile(r"[-+]?\d[\d,]*(?:\.\d+)?(?:[eE][-+]?\d+)?%?")
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def exact(answer: str, right: str, choices: Sequence[str] = ()) -> bool:
    """Apart from white space around it."""
    return answer.strip() == right.strip()


def contains(answer: str, right: str, choices: Sequence[str] = ()) -> bool:
    """The right answer as whole words, whatever the case."""
    return re.search(rf"(?<!\w){re.escape(_plain(right))}(?!\w)", _plain(answer)) is not None


def number(answer: str, right: str, choices: Sequence[str] = ()) -> bool:
    """The last number of the answer is the right one: 1,200 is 1200.0, and 40% is 0.4."""
    found, wanted = NUMBER.findall(answer), _value(right)
    return bool(found) and wanted is not None and _value(found[-1]) == wanted


def choice(answer: str, right: str, choices: Sequence[str] = ()) -> bool:
    """A letter, as (B), or the text of exactly one of the choices."""
    wanted = _index(right, choices)
    letters = LETTERS[: len(choices)]
    if found := re.match(rf"\W*([{letters}])(?!\w)", answer.strip(), re.IGNORECASE):
        return letters.index(found[1].upper()) == wanted
    named = [i for i, text in enumerate(choices) if contains(answer, text)]
    return named == [wanted]


def _plain(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def _value(text: str) -> Decimal | None:
    written = text.strip().replace(",", "")
    try:
        return Decimal(written[:-1]) / 100 if written.endswith("%") else Decimal(written)
    except InvalidOperation:
        return None


def _index(right: str, choices: Sequence[str]) -> int:
    """Of the right choice, given by its text or its letter."""
    if right in choices:
        return list(choices).index(right)
    letter = LETTERS.find(right.strip().upper()) if len(right.strip()) == 1 else -1
    if not 0 <= letter < len(choices):
        raise UsageError(f"answer {right!r} is neither one of the choices ({', '.join(choices)}) nor their letter")
    return letter


SCORERS: dict[str, Scorer] = {"exact": exact, "contains": contains, "number": number, "choice": choice}


def find_scorer(name: str) -> Scorer:
    if name not in SCORERS:
        raise UsageError(f"unknown scorer {name!r}; known: {', '.join(SCORERS)}")
    return SCORERS[name]
