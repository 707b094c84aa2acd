"""How checks end that look at cases one by one: red where one is wrong, never a pass where there was none."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from harness.verdict import Verdict


def pair_words(wrong: Mapping[str, Any]) -> str:
    return f"{wrong['request']}: {wrong['b']!s:.200}"


def none_wrong(
    check: str,
    compared: int,
    wrong: Sequence[Mapping[str, Any]],
    *,
    invariant: int,
    source: str,
    idle: str = "nothing was answered",
    words: Callable[[Mapping[str, Any]], str] = pair_words,
) -> Verdict:
    """``wrong`` is evidence, each with its ``request``; several may be of one. ``idle`` says why nothing was compared,
    ``words`` what a message says of the first wrong one.
    """
    right = compared - len({one["request"] for one in wrong})
    evidence = {"compared": compared, "wrong": list(wrong)}
    end = partial(
        Verdict, check, invariant=invariant, source=source, figure=right, threshold=compared, evidence=evidence
    )
    if wrong:
        return end("fail", f"{compared - right} of {compared} wrong; {words(wrong[0])}")
    return end("pass", f"all {compared} right") if compared else end("not_exercised", idle)
