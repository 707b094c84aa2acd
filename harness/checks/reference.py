"""A target against the reference engine on the same checkpoint and requests: prompts as run, counts, spans, and how
likely each holds the very same tokens.

Log-probabilities are compared place by place of the same ids, those of the prompt and those that the target answered
with, so that no gap follows from an earlier one. Greedy tokens alone decide nothing: they may be equal over a wrong
picture, and differ where two tokens are as likely.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from harness.checks.counted import none_wrong
from harness.checks.identity import Placeholders, first_divergence, items_of
from harness.observation import Observation, Prompt, Scored, why_untold
from harness.verdict import Verdict

SOURCE = "vllm#51902"
PROMPTS, COUNTS, SPANS = "ids as the reference runs them", "prompt tokens as the reference", "spans as the reference"
PROMPT_GAPS, ANSWER_GAPS = "log-probabilities of prompts as the reference", "log-probabilities of answers"
GREEDY = "greedy tokens as the reference"
ANSWERED = "answered as by the reference"
TokenText = Callable[[int], str]


@dataclass(frozen=True)
class Tolerance:
    """The gap of two log-probabilities that rounding explains: ``absolute`` nats, or ``relative`` of a large one."""

    absolute: float
    relative: float
    reason: str

    def allows(self, a: float, b: float) -> bool:
        return abs(a - b) <= max(self.absolute, self.relative * max(abs(a), abs(b)))

    @property
    def words(self) -> str:
        return f"{self.absolute:g} nats or {self.relative:.2%}: {self.reason}"


TOLERANCES = {
    "float32": Tolerance(1e-3, 1e-4, "batches and kernels move float32 by 1e-5, seen on vLLM 0.32.0 and SGLang 0.5.23"),
    "bfloat16": Tolerance(0.3, 0.1, "bfloat16 moves log-probabilities by 0.25, measured on vLLM 0.32.0"),
    "float16": Tolerance(0.05, 0.02, "float16 has 8 times the digits of bfloat16"),
}  # fmt: skip


@dataclass(frozen=True)
class Compared:
    """One request as the target answered it, as the reference did, and the target's own answer as the reference scores
    it: ``scored`` has a place for each token of prompt and answer.
    """

    prompt: Prompt
    seen: Observation
    reference: Observation
    scored: Sequence[Scored | None] = ()

    @property
    def answer_scores(self) -> Sequence[Scored | None]:
        """Of the answer's tokens."""
        return self.scored[len(self.scored) - len(self.seen.output_ids) :] if self.seen.output_ids else ()


def answered_as_reference(pairs: Sequence[Compared], of: str = "", unasked: str | None = None) -> Verdict:
    """What the reference answers the target answers too, and what it refuses the target refuses, as the caller's fault:
    with a 4xx. ``unasked`` says why the target could not be asked.
    """
    wrong = [
        {"request": pair.prompt.name, "message": f"target {_outcome(pair.seen)}, reference {_outcome(pair.reference)}"}
        for pair in pairs
        if pair.seen.ok != pair.reference.ok or not 200 <= pair.seen.status < 500
    ]
    return _verdict(ANSWERED + of, 17, len(pairs), wrong, unasked)


def prompts_as_reference(
    pairs: Sequence[Compared], text: TokenText, of: str = "", unasked: str | None = None
) -> Verdict:
    """Every id of the prompt as run, expansion included."""
    told = [pair for pair in pairs if pair.seen.prompt_ids is not None and pair.reference.prompt_ids is not None]
    wrong = []
    for pair in told:
        ran, expected = pair.seen.prompt_ids or (), pair.reference.prompt_ids or ()
        if (at := first_divergence(expected, ran)) is not None:
            near = f"reference {_near(expected, at, text)}, ran {_near(ran, at, text)}"
            wrong.append({"request": pair.prompt.name, "position": at, "message": f"position {at}: {near}"})
    untold = unasked or why_untold([pair.seen for pair in pairs], "prompt_ids")
    return _verdict(PROMPTS + of, 6, len(told), wrong, untold)


def counts_as_reference(pairs: Sequence[Compared]) -> Verdict:
    """``usage.prompt_tokens``."""
    told = [pair for pair in pairs if pair.seen.ok and pair.seen.prompt_tokens is not None]
    wrong = [
        {"request": pair.prompt.name, "message": f"{pair.seen.prompt_tokens}, not {pair.reference.prompt_tokens}"}
        for pair in told
        if pair.seen.prompt_tokens != pair.reference.prompt_tokens
    ]
    return _verdict(COUNTS, 1, len(told), wrong, None)


def spans_as_reference(pairs: Sequence[Compared], placeholders: Placeholders) -> Verdict:
    """Where each picture lies. Only of targets that tell it: found in the ids it would be judged with them."""
    untold = why_untold([pair.seen for pair in pairs], "spans")
    told = [pair for pair in pairs if pair.seen.ok and pair.prompt.pictures and not untold]
    wrong = []
    for pair in told:
        ours, theirs = (
            [item.spans for item in items_of(pair.prompt, one, placeholders)] for one in (pair.reference, pair.seen)
        )
        if (at := first_divergence(ours, theirs)) is not None:
            message = f"image {at + 1}: {theirs[at : at + 1]}, not {ours[at : at + 1]}"
            wrong.append({"request": pair.prompt.name, "item": at, "message": message})
    return _verdict(SPANS, 1, len(told), wrong, untold)


def prompt_gaps(pairs: Sequence[Compared], tolerance: Tolerance, text: TokenText, untold: str | None = None) -> Verdict:
    """At each place of the prompt that both tell of. The first gap says after which picture things go wrong."""
    gaps = [_gaps(pair, pair.reference.scored, pair.seen.scored, 0, tolerance, text) for pair in pairs]
    return _judge_gaps(PROMPT_GAPS, gaps, tolerance, untold)


def answer_gaps(pairs: Sequence[Compared], tolerance: Tolerance, text: TokenText) -> Verdict:
    """At each token that the target answered with."""
    gaps = [
        _gaps(pair, pair.answer_scores, told, len(pair.seen.prompt_ids or pair.prompt.ids), tolerance, text)
        for pair in pairs
        for told in [[Scored(*one) for one in zip(pair.seen.output_ids, pair.seen.logprobs, strict=False)]]
    ]
    untold = why_untold([pair.seen for pair in pairs], "output_ids", "logprobs")
    return _judge_gaps(ANSWER_GAPS, gaps, tolerance, untold)


def greedy_as_reference(pairs: Sequence[Compared], tolerance: Tolerance, text: TokenText) -> Verdict:
    """The answers' ids. Where they part, the reference says how much likelier it held its own token: within the
    tolerance rounding decides, and that is no difference.
    """
    told = [pair for pair in pairs if pair.seen.ok and pair.reference.ok and pair.seen.output_ids]
    parted = [found for pair in told if (found := _parting(pair, tolerance, text)) is not None]
    wrong = [one for one in parted if not one["tie"]]
    untold = why_untold([pair.seen for pair in pairs], "output_ids")
    verdict = _verdict(GREEDY, 11, len(told), wrong, untold)
    if parted and not wrong:
        message = f"{len(told)} answers; {len(parted)} part where two tokens are as likely: {parted[0]['message']}"
        return Verdict(GREEDY, "pass", message, 11, SOURCE, evidence={"compared": len(told), "wrong": parted})
    return verdict


def _parting(pair: Compared, tolerance: Tolerance, text: TokenText) -> dict[str, Any] | None:
    ours, theirs = pair.reference.output_ids, pair.seen.output_ids
    if (at := first_divergence(ours, theirs)) is None:
        return None
    scored = pair.answer_scores[at] if at < len(pair.answer_scores) else None
    likeliest = scored.top[0] if scored is not None and scored.top else None
    tie = scored is not None and likeliest is not None and tolerance.allows(scored.logprob, likeliest[1])
    message = (
        f"token {at}: reference {_near(ours, at, text)}, target {_near(theirs, at, text)}; "
        f"the reference holds {_alternatives(scored, text)}"
    )
    return {
        "request": pair.prompt.name,
        "position": at,
        "tie": tie,
        "message": message,
        "expected": pair.prompt.expected,
    }


def _gaps(
    pair: Compared,
    ours: Sequence[Scored | None],
    theirs: Sequence[Scored | None],
    offset: int,
    tolerance: Tolerance,
    text: TokenText,
) -> tuple[int, float, list[dict[str, Any]]]:
    """Places compared, the largest gap, and those beyond the tolerance, in order."""
    compared, largest, beyond = 0, 0.0, []
    for at, (a, b) in enumerate(zip(ours, theirs, strict=False)):
        if a is None or b is None or a.token != b.token:
            continue
        compared, largest = compared + 1, max(largest, abs(a.logprob - b.logprob))
        if not tolerance.allows(a.logprob, b.logprob):
            where = _where(pair.reference, offset + at)
            message = (
                f"position {offset + at} ({where}), token {a.token}[{text(a.token)}]: {b.logprob:.5f}, the reference "
                f"{a.logprob:.5f}; it holds {_alternatives(a, text)}"
            )
            beyond.append({"request": pair.prompt.name, "position": offset + at, "message": message})
    return compared, largest, beyond


def _judge_gaps(
    check: str, gaps: Sequence[tuple[int, float, list[dict[str, Any]]]], tolerance: Tolerance, untold: str | None
) -> Verdict:
    places, largest = sum(compared for compared, _, _ in gaps), max((gap for _, gap, _ in gaps), default=0.0)
    wrong = [beyond[0] | {"places": len(beyond)} for _, _, beyond in gaps if beyond]
    end = partial(
        Verdict, check, invariant=11, source=SOURCE, figure=largest, threshold=tolerance.absolute,
        evidence={"places": places, "requests": len(gaps), "tolerance": tolerance.words, "wrong": wrong},
    )  # fmt: skip
    if not places:
        return end("not_exercised", untold or "no place has a log-probability on both sides")
    reading = f"largest gap {largest:.2g} nats at {places} places; allowed: {tolerance.words}"
    if wrong:
        first = wrong[0]
        return end("fail", f"{len(wrong)} of {len(gaps)} requests; {first['request']}, {first['message']}; {reading}")
    return end("pass", reading)


def _verdict(
    check: str, invariant: int, compared: int, wrong: Sequence[Mapping[str, Any]], untold: str | None
) -> Verdict:
    return none_wrong(
        check, compared, wrong, invariant=invariant, source=SOURCE, idle=untold or "no request was answered",
        words=lambda one: f"{one['request']}, {one['message']}",
    )  # fmt: skip


def _outcome(seen: Observation) -> str:
    if seen.ok:
        return "answered"
    return f"{f'refused with {seen.status}' if seen.status else 'gave no answer'}: {seen.error!s:.160}"


def _where(reference: Observation, position: int) -> str:
    """A place of a prompt in words: in which picture it is, or after which."""
    before = "before any image"
    for item in reference.items:
        for start, end in item.spans:
            if start <= position <= end:
                return f"in image {item.item + 1}"
            if end < position:
                before = f"after image {item.item + 1}"
    return before


def _alternatives(scored: Scored | None, text: TokenText) -> str:
    if scored is None or not scored.top:
        return "nothing there"
    return " ".join(f"{token}[{text(token)}] {logprob:.3f}" for token, logprob in scored.top)


def _near(ids: Sequence[int], at: int, text: TokenText) -> str:
    """The ids about a place, that one between bars."""
    shown = [f"{token}[{text(token)}]" for token in ids[max(0, at - 2) : at + 2]]
    if at >= len(ids):
        return " ".join([*shown, f"|end after {len(ids)}|"])
    place = at - max(0, at - 2)
    return " ".join(f"|{one}|" if number == place else one for number, one in enumerate(shown))
