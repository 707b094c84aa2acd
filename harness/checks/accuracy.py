"""What misplaced rows cost: answers of a sentinel, judged in pairs, and against a floor. A request that failed is
wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from harness.observation import Observation, Prompt
from harness.stats import mcnemar_worse
from harness.verdict import Status, Verdict

INVARIANT = 2
ALPHA = 0.05
"""An exact one-sided McNemar test below this is a loss."""
TOLERATED_LOSS = 0.05
"""A net loss up to this share, not significant, is no loss; a larger one that is not significant cannot be told."""
LEAST_BASELINE = 0.5
"""Below this share of right answers there is too little to lose for the comparison to mean anything."""
PAIRED = "accuracy unchanged"
Right = Callable[[Prompt, Observation], bool]


def as_expected(prompt: Prompt, seen: Observation) -> bool:
    return seen.right(prompt)


def accuracy_unchanged(
    names: tuple[str, str],
    prompts: Sequence[Prompt],
    seen: tuple[Sequence[Observation], Sequence[Observation]],
    *,
    source: str,
    right: Right = as_expected,
) -> Verdict:
    """Exact McNemar test on the same requests: does the second setting get fewer right than the first?"""
    check = f"{PAIRED} ({names[0]} to {names[1]})"
    pairs = [(right(prompt, a), right(prompt, b)) for prompt, a, b in zip(prompts, *seen, strict=True)]
    refused = [prompt.name for prompt, a, b in zip(prompts, *seen, strict=True) if right(prompt, a) and not b.ok]
    lost = [prompt.name for prompt, (a, b) in zip(prompts, pairs, strict=True) if a and not b]
    gained = [prompt.name for prompt, (a, b) in zip(prompts, pairs, strict=True) if b and not a]
    total, before, after = len(pairs), sum(a for a, _ in pairs), sum(b for _, b in pairs)
    p = mcnemar_worse(len(lost), len(gained))
    evidence = {"settings": list(names), "total": total, "before": before, "after": after}
    evidence |= {"lost": lost, "lost_by_refusal": refused, "gained": gained, "p": p}
    share, was = (after / total, before / total) if total else (None, None)
    end = partial(Verdict, check, invariant=INVARIANT, source=source, figure=share, threshold=was, evidence=evidence)
    if total == 0 or before < LEAST_BASELINE * total:
        return end(
            "not_exercised", f"{names[0]} answers {before} of {total} right: too little to lose (trained model?)"
        )
    how = f" ({len(refused)} refused, {len(lost) - len(refused)} answered wrong)" if lost else ""
    message = f"{before} to {after} of {total} right; {len(lost)} lost{how}, {len(gained)} gained, p = {p:.2g}"
    net = len(lost) - len(gained)
    if net > 0 and p < ALPHA:
        return end("fail", message)
    return end("pass" if net <= TOLERATED_LOSS * total else "cannot_tell", message)


def accuracy_floor(
    setting: str,
    prompts: Sequence[Prompt],
    seen: Sequence[Observation],
    floor: float | None,
    *,
    source: str,
    right: Right = as_expected,
) -> Verdict:
    """The setting answers at least ``floor`` of the requests right; None where the model states no floor."""
    check = f"accuracy floor ({setting})"
    wrong = [
        {"request": prompt.name, "expected": prompt.expected, "got": answer.error or answer.text}
        for prompt, answer in zip(prompts, seen, strict=True)
        if not right(prompt, answer)
    ]
    total = len(prompts)
    share = (total - len(wrong)) / total if total else 0.0
    evidence = {"setting": setting, "total": total, "wrong": wrong}
    if floor is None or not total:
        message = f"{share:.1%} right; no floor is known for this model (give --accuracy-floor)"
        return Verdict(check, "not_exercised", message, INVARIANT, source, share, None, evidence)
    status: Status = "pass" if share >= floor else "fail"
    message = f"{total - len(wrong)} of {total} right, {share:.1%}; at least {floor:.0%} wanted"
    return Verdict(check, status, message, INVARIANT, source, share, floor, evidence)
