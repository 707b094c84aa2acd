"""Invariants 2, 7 and 11: the same request, asked in another way or under other settings, gets the same answer, field
by field: ids, text, reason to end, prompt length, and one log-probability for every id.

Fields that a target does not give are not compared. Where two greedy answers part at a token that both held about
equally likely, the neighbours' rounding may have decided: that alone is "cannot tell", never a pass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from harness.checks.identity import first_divergence
from harness.observation import Observation, Prompt
from harness.verdict import Verdict

TIE = 1e-3
"""Nats by which the log-probabilities of two tokens may differ for their order to be rounding's. Batch noise of float32
on CPUs is about 1e-5 (measured on vLLM 0.32.0 and on the reference engine)."""


def same_answers(
    names: tuple[str, str],
    prompts: Sequence[Prompt],
    seen: tuple[Sequence[Observation], Sequence[Observation]],
    *,
    invariant: int,
    source: str,
    exercised: str | None = None,
    tie: float = TIE,
) -> Verdict:
    """Second answers, every choice of them, against first ones. ``exercised`` says why the second way did not act, if
    it did not.
    """
    found = [
        {"request": prompt.name, "choice": choice, "expected": prompt.expected} | difference
        for prompt, a, b in zip(prompts, *seen, strict=True)
        for choice, one in enumerate((b, *b.others))
        if (difference := _difference(a, one, tie)) is not None
    ]
    wrong = [one for one in found if not one["tie"]]
    refused = [a for a, b in zip(*seen, strict=True) if _failed_alike(a, b)]
    compared = len(prompts) - len(refused)
    evidence = {"settings": list(names), "compared": compared, "refused": len(refused), "wrong": found}
    end = partial(
        Verdict, f"{names[1]} = {names[0]}", invariant=invariant, source=source,
        figure=compared - len({one["request"] for one in found}), threshold=compared, evidence=evidence,
    )  # fmt: skip
    if wrong:
        names_of = {one["request"] for one in wrong}
        return end("fail", f"{len(names_of)} of {compared} answers differ; {_words(wrong[0])}")
    if not prompts or exercised is not None:
        return end("not_exercised", exercised or "nothing was compared")
    if not compared:
        return end("not_exercised", f"every request was refused both times: {refused[0].error!s:.120}")
    if found:
        near = f"tokens within {tie:g} nats of each other, which rounding may order either way"
        return end("cannot_tell", f"{len(found)} of {compared} answers part at {near}; {_words(found[0])}")
    more = f"; {len(refused)} more were refused both times: {refused[0].error!s:.120}" if refused else ""
    return end("pass", f"{compared} of {compared} answers equal{more}")


def _failed_alike(a: Observation, b: Observation) -> bool:
    """Nothing to compare; :mod:`harness.checks.answered` has it red."""
    return not a.ok and not b.ok and a.status == b.status


def _difference(a: Observation, b: Observation, tie: float) -> dict[str, Any] | None:
    """The first field that differs, with both values; None if none does."""
    if not (a.ok and b.ok):
        return None if _failed_alike(a, b) else _told("answer", a.error or "answered", b.error or "answered")
    if (at := first_divergence(a.output_ids, b.output_ids)) is not None:
        near = _near(a, b, at, tie)
        return _told("output ids", _token(a, at), _token(b, at), position=at, tie=near)
    for field in ("text", "finish", "prompt_tokens"):
        one, other = getattr(a, field), getattr(b, field)
        if one is not None and other is not None and one != other:
            return _told(field, one, other)
    for seen in () if "output_ids" in a.lacks else (a, b):
        if seen.logprobs and len(seen.logprobs) != len(seen.output_ids):
            return _told("log-probabilities", len(seen.output_ids), len(seen.logprobs))
    return None


def _near(a: Observation, b: Observation, at: int, tie: float) -> bool:
    """Whether both hold a token at ``at``, and hold it as likely as the other's, within ``tie``."""
    shortest = min(len(a.output_ids), len(b.output_ids), len(a.logprobs), len(b.logprobs))
    return at < shortest and abs(a.logprobs[at] - b.logprobs[at]) <= tie


def _token(seen: Observation, at: int) -> str:
    if at >= len(seen.output_ids):
        return f"(end after {len(seen.output_ids)} tokens)"
    told = f" at {seen.logprobs[at]:.6f}" if at < len(seen.logprobs) else ""
    return f"{seen.output_ids[at]}{told}"


def _told(field: str, a: object, b: object, *, position: int | None = None, tie: bool = False) -> dict[str, Any]:
    return {"field": field, "position": position, "a": a, "b": b, "tie": tie}


def _words(found: Mapping[str, Any]) -> str:
    place = "" if found["position"] is None else f" {found['position']}"
    choice = f", choice {found['choice']}" if found["choice"] else ""
    return f"{found['request']}{choice}, {found['field']}{place}: {found['a']!s:.80} and {found['b']!s:.80}"
