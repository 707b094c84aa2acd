"""Are the answers the same? Token for token against the oracle's; text for text where a server gives no ids.

Pure: no I/O. Nothing is called equal that was not compared.

>>> compare({"a": (1, 2)}, [Answered("a", (1, 3), 0.1)], str).words
'0 of 1 the same; a parts at token 1: 3 for 2'
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from harness.bench.contestants.base import Answered

Decode = Callable[[Sequence[int]], str]
"""Ids to text, special tokens left out."""


@dataclass(frozen=True)
class Agreement:
    """How many of the oracle's answers a contestant gave, and where the first other one parts from it."""

    same: int
    total: int
    first: str = ""

    @property
    def whole(self) -> bool:
        return self.total > 0 and self.same == self.total

    @property
    def words(self) -> str:
        return f"{self.same} of {self.total} the same" + (f"; {self.first}" if self.first else "")


def compare(oracle: Mapping[str, tuple[int, ...]], given: Sequence[Answered], decode: Decode) -> Agreement:
    """``given`` against the oracle's ids by request. A missing, a surplus and a doubled answer count as different."""
    by_name = {answer.name: answer for answer in given}
    wrong = [f"{name} was not asked" for name in by_name if name not in oracle]
    if len(by_name) < len(given):
        wrong.append("a request was answered twice")
    for name, ids in oracle.items():
        if name not in by_name:
            wrong.append(f"{name} has no answer")
        elif difference := _difference(ids, by_name[name], decode):
            wrong.append(f"{name} {difference}")
    return Agreement(max(0, len(oracle) - len(wrong)), len(oracle), wrong[0] if wrong else "")


def _difference(ids: tuple[int, ...], given: Answered, decode: Decode) -> str:
    """How one answer differs, in words; nothing where it does not."""
    if given.error is not None:
        return f"failed: {given.error}"
    if given.ids is None:
        right = decode(ids)
        return "" if given.text == right else f"has another text: {str(given.text)[:40]!r} for {right[:40]!r}"
    if given.ids == ids:
        return ""
    places = (n for n, (a, b) in enumerate(zip(given.ids, ids, strict=False)) if a != b)
    place = next(places, min(len(given.ids), len(ids)))
    return f"parts at token {place}: {_token(given.ids, place)} for {_token(ids, place)}"


def _token(ids: Sequence[int], place: int) -> str:
    return str(ids[place]) if place < len(ids) else "the end"
