"""Invariants 2 and 11: two settings that must not change greedy output give the same tokens, one for one; and, of a
target that promises it, a request in a crowd gets the very bits that it gets alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import zip_longest

from harness.checks.identity import first_divergence
from harness.observation import Observation, Prompt
from harness.verdict import Verdict

INVARIANT = 2
ALONE = "in a crowd = alone, bit for bit"


def same_tokens(
    names: tuple[str, str],
    prompts: Sequence[Prompt],
    seen: tuple[Sequence[Observation], Sequence[Observation]],
    *,
    source: str,
    exercised: str | None = None,
) -> Verdict:
    """Compares output ids of every request. ``exercised`` says why the settings did not act, if they did not."""
    check = f"{names[1]} = {names[0]}, token for token"
    wrong = []
    for prompt, a, b in zip(prompts, *seen, strict=True):
        if a.ok and b.ok and a.output_ids == b.output_ids:
            continue
        at = first_divergence(a.output_ids, b.output_ids)
        wrong.append(
            {"request": prompt.name, "position": at, "expected": prompt.expected}
            | {"a": a.error or a.text, "b": b.error or b.text, "a_ids": list(a.output_ids), "b_ids": list(b.output_ids)}
        )
    compared = len(prompts)
    equal = compared - len(wrong)
    evidence = {"settings": list(names), "compared": compared, "wrong": wrong}
    end = partial(
        Verdict, check, invariant=INVARIANT, source=source, figure=equal, threshold=compared, evidence=evidence
    )
    if wrong:
        first = wrong[0]
        pair = f"{first['request']}: {first['a']!r:.80} and {first['b']!r:.160}"
        return end("fail", f"{len(wrong)} of {compared} answers differ; {pair}")
    if exercised is not None or not compared:
        return end("not_exercised", exercised or "nothing was compared")
    return end("pass", f"{compared} of {compared} answers equal")


def equal_to_alone(
    prompts: Sequence[Prompt],
    alone: Sequence[Observation],
    crowd: Sequence[Observation],
    *,
    source: str,
    exercised: str | None = None,
) -> Verdict:
    """Compares ids and log-probabilities with ``==``: any leak between requests, however small, is a bit flip. Only for
    a target that promises batch invariance; an answer without log-probabilities is not compared. ``exercised`` says why
    the crowd was none, if it was none.
    """
    pairs = [(prompt, a, b) for prompt, a, b in zip(prompts, alone, crowd, strict=True) if a.logprobs or b.logprobs]
    wrong = [
        {"request": prompt.name, "position": at, "a": _bits(a, at), "b": _bits(b, at)}
        for prompt, a, b in pairs
        if (at := first_divergence(_all_bits(a), _all_bits(b))) is not None
    ]
    end = partial(
        Verdict, ALONE, invariant=INVARIANT, source=source, figure=len(pairs) - len(wrong),
        threshold=len(pairs), evidence={"compared": len(pairs), "wrong": wrong},
    )  # fmt: skip
    if not pairs:
        return end("not_exercised", "no answer carried log-probabilities")
    if wrong:
        first = wrong[0]
        where = f"{first['request']}, token {first['position']}: alone {first['a']}, in a crowd {first['b']}"
        return end("fail", f"{len(wrong)} of {len(pairs)} answers differ; {where}")
    if exercised is not None:
        return end("not_exercised", exercised)
    return end("pass", f"{len(pairs)} of {len(pairs)} answers have the same bits")


def _all_bits(seen: Observation) -> list[tuple[int | None, float | None]]:
    """A token without a log-probability, or the other way round, is a difference too."""
    return list(zip_longest(seen.output_ids, seen.logprobs))


def _bits(seen: Observation, at: int) -> str:
    """Token and exact log-probability at a place, for a reader."""
    if at >= min(len(seen.output_ids), len(seen.logprobs)):
        return seen.error or f"(end of {len(seen.output_ids)} tokens, {len(seen.logprobs)} log-probabilities)"
    return f"{seen.output_ids[at]} at {seen.logprobs[at].hex()}"
