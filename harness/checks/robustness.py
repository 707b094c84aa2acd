"""Invariant 17: any input gets 2xx or 4xx with words in JSON, and nobody else notices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from harness.verdict import Verdict

INVARIANT, SOURCE = 17, "sglang#26751"
REFUSED, TOLD = "hostile requests get 2xx or 4xx", "refusals are told in JSON"


@dataclass(frozen=True)
class Reply:
    """What a hostile request got; status 0 and why, where nothing came back."""

    request: str
    status: int
    told: str
    is_json: bool = False


def answered_or_refused(replies: Sequence[Reply]) -> Verdict:
    """No 5xx, no broken connection, no silence."""
    wrong = [reply for reply in replies if not 200 <= reply.status < 500]
    return _verdict(REFUSED, replies, wrong)


def refusals_in_words(replies: Sequence[Reply]) -> Verdict:
    """A program reads a refusal: it must be JSON, and say something."""
    refused = [reply for reply in replies if 400 <= reply.status < 500]
    wrong = [reply for reply in refused if not (reply.is_json and reply.told.strip())]
    return _verdict(TOLD, refused, wrong)


def _verdict(check: str, replies: Sequence[Reply], wrong: Sequence[Reply]) -> Verdict:
    evidence = {
        "compared": len(replies),
        "wrong": [{"request": reply.request, "a": reply.status, "b": reply.told[:300]} for reply in wrong],
    }
    end = partial(
        Verdict, check, invariant=INVARIANT, source=SOURCE, figure=len(replies) - len(wrong),
        threshold=len(replies), evidence=evidence,
    )  # fmt: skip
    if wrong:
        first = wrong[0]
        got = f"{first.status}" if first.status else "no answer"
        return end("fail", f"{len(wrong)} of {len(replies)}; {first.request}: {got}, {first.told[:160]!r}")
    if not replies:
        return end("not_exercised", "there was none")
    return end("pass", f"{len(replies)} of {len(replies)}")
