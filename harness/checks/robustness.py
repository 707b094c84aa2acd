"""Invariant 17: any input gets 2xx or 4xx with words in JSON, nobody else notices, and the server lives on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.checks.counted import none_wrong
from harness.errors import TargetDied
from harness.verdict import Verdict

INVARIANT, SOURCE = 17, "sglang#26751"
ALIVE = "the server lives through it"
REFUSED, TOLD = "hostile requests get 2xx or 4xx", "refusals are told in JSON"


@dataclass(frozen=True)
class Reply:
    """What a hostile request got; status 0 and why, where nothing came back."""

    request: str
    status: int
    told: str
    is_json: bool = False


def died(death: TargetDied) -> Verdict:
    """Whatever a job asks, a server that was ready must live through it, and come to an end with every request."""
    return Verdict(ALIVE, "fail", " ".join(str(death).split()), INVARIANT, SOURCE)


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
    told = [{"request": reply.request, "a": reply.status, "b": reply.told[:300]} for reply in wrong]
    return none_wrong(
        check, len(replies), told, invariant=INVARIANT, source=SOURCE, idle="there was none", words=_words
    )


def _words(wrong: Mapping[str, Any]) -> str:
    return f"{wrong['request']}: {wrong['a'] or 'no answer'}, {wrong['b'][:160]!r}"
