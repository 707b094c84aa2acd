"""Invariant 6 where requests carry a processor's output (sglang#26116): one of other ids is refused or left aside."""

from __future__ import annotations

from collections.abc import Sequence

from harness.checks.counted import none_wrong
from harness.observation import Observation, Prompt
from harness.verdict import Verdict

CHECK, INVARIANT = "another's output is not used", 6


def not_used(
    prompts: Sequence[Prompt], own: Sequence[Observation], foreign: Sequence[Observation], toggle: str, *, source: str
) -> Verdict:
    """``foreign``: answers to requests whose output was of ids that are not theirs, of the same length. Each is a
    refusal (4xx), or the answer that the request gets without any output, and then says that nothing was reused.
    """
    wrong = []
    for prompt, a, b in zip(prompts, own, foreign, strict=True):
        if not b.ok and 400 <= b.status < 500:
            continue
        if b.ok and b.output_ids == a.output_ids and not b.toggles.get(toggle, {}).get("acted"):
            continue
        what = b.error if not b.ok else "it was used" if b.toggles.get(toggle, {}).get("acted") else "another answer"
        wrong.append({"request": prompt.name, "a": a.text, "b": f"{b.status}: {what}"})
    return none_wrong(CHECK, len(prompts), wrong, invariant=INVARIANT, source=source)
