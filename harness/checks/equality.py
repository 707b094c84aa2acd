"""Invariants 2 and 11: two settings that must not change greedy output give the same tokens, one for one."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from harness.checks.identity import first_divergence
from harness.observation import Observation, Prompt
from harness.verdict import Verdict

INVARIANT = 2


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
