"""Invariant 6, counted: a prompt sent as ids is not retokenized on its way (sglang#26555).

``drift_is_exact`` is for the setting that goes through text: it must lose exactly what the tokenizer alone predicts,
no more, which shows that the harness sees drift when there is some. ``no_drift`` is for the setting that must lose
nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from harness.checks.identity import Placeholders, items_of
from harness.observation import Observation, Prompt, expansion, why_untold
from harness.verdict import Verdict

SOURCE, INVARIANT = "sglang#26555", 6
EXACT = "drift as computed ({})"


def observed_drift(prompt: Prompt, seen: Observation, placeholders: Placeholders) -> int | None:
    """Tokens of the prompt as run, by the target's own usage, beyond those sent, expanded; None if unknown."""
    items = items_of(prompt, seen, placeholders)
    if not seen.ok or seen.prompt_tokens is None or len(items) != len(prompt.pictures):
        return None
    grown = sum(len(ids) - 1 for ids in prompt.written) if prompt.written else expansion(items)
    return seen.prompt_tokens - len(prompt.ids) - grown


def drift_is_exact(
    setting: str, prompts: Sequence[Prompt], seen: Sequence[Observation], placeholders: Placeholders
) -> Verdict:
    """The setting retokenizes: every prompt's length changes by exactly the computed drift."""
    return _judge(EXACT.format(setting), setting, prompts, seen, placeholders, [p.drift for p in prompts])


def no_drift(
    setting: str, prompts: Sequence[Prompt], seen: Sequence[Observation], placeholders: Placeholders
) -> Verdict:
    """The setting keeps the caller's ids: no prompt's length changes."""
    return _judge(f"no token lost ({setting})", setting, prompts, seen, placeholders, [0] * len(prompts))


def _judge(
    check: str,
    setting: str,
    prompts: Sequence[Prompt],
    seen: Sequence[Observation],
    placeholders: Placeholders,
    expected: Sequence[int],
) -> Verdict:
    rows: list[dict[str, Any]] = [
        {"request": prompt.name, "sent": len(prompt.ids), "computed": prompt.drift, "expected": want, "seen": got}
        for prompt, answer, want in zip(prompts, seen, expected, strict=True)
        if (got := observed_drift(prompt, answer, placeholders)) is not None
    ]
    lost = -sum(row["seen"] for row in rows)
    wanted, computed = -sum(row["expected"] for row in rows), -sum(row["computed"] for row in rows)
    wrong = [row for row in rows if row["seen"] != row["expected"]]
    evidence = {"setting": setting, "requests": rows, "failed_requests": len(prompts) - len(rows), "wrong": wrong}
    end = partial(Verdict, check, invariant=INVARIANT, source=SOURCE, figure=lost, threshold=wanted, evidence=evidence)
    if not rows and (untold := why_untold(seen, "spans", "prompt_ids")):
        return end("not_exercised", untold)
    if computed == 0:
        reason = "no request was answered" if not rows else "no prompt was non-canonical"
        return end("not_exercised", f"{reason}, so nothing could drift")
    if wrong:
        first = wrong[0]
        message = (
            f"{len(wrong)} of {len(rows)} prompts changed otherwise than expected; {first['request']}: "
            f"{first['seen']:+d} tokens, expected {first['expected']:+d}"
        )
        return end("fail", message)
    return end("pass", f"{lost} of the {computed} tokens that retokenizing loses were lost, in {len(rows)} prompts")
