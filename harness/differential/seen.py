"""What came of one request, as a judge reads it, and the first difference between two of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

LOGIT_NOISE = 1e-3
"""Of a logit: sums in another order differ far less, anything else far more."""
TOLERANCE = 2 * LOGIT_NOISE
"""Of a log-probability: the most by which it changes when every logit changes by that noise."""
SKETCH_TOLERANCE = 1e-3


@dataclass
class Choice:
    """One choice: as the answer has it, and as the stream had it."""

    ids: list[int] = field(default_factory=list)
    text: str = ""
    logprobs: list[float] = field(default_factory=list)
    finish: str = ""
    streamed_ids: list[int] = field(default_factory=list)
    streamed_text: str = ""
    streamed_logprobs: list[float] = field(default_factory=list)
    counted: int | None = None
    """Tokens that the answer says it has, where it says so."""
    likeliest: Sequence[Sequence[tuple[int, float]]] = ()
    """Of each id, the likeliest tokens in its place and their log-probabilities, where they were asked for."""
    open: Sequence[Set[int]] = ()
    """Of each id, the tokens that may stand in its place (see :mod:`~harness.differential.open_picks`)."""

    @property
    def settled(self) -> int:
        """How many ids, from the first on, every engine that is right must pick."""
        return next((i for i, picks in enumerate(self.open) if len(picks) != 1), len(self.open))

    def comparable(self, other: Choice) -> int | None:
        """How many ids of ``other`` must be these: None for all. From the first on that was open, none need be."""
        first = next((i for i, (a, b) in enumerate(zip(self.ids, other.ids, strict=False)) if a != b), None)
        return first if first is not None and first < len(self.open) and other.ids[first] in self.open[first] else None


@dataclass
class Seen:
    """``status`` is 200, that of the refusal, or 0 where there was no answer at all."""

    status: int
    error: str = ""
    choices: list[Choice] = field(default_factory=list)
    prompt_tokens: int = 0
    prompt_ids: list[int] | None = None
    """As run, where they were asked for."""
    prompt_logprobs: list[float | None] | None = None
    evidence: Any = None
    steps: int = 0

    @property
    def ok(self) -> bool:
        return self.status == 200

    @property
    def is_settled(self) -> bool:
        """Whether every engine that is right must pick these ids."""
        return all(choice.settled == len(choice.ids) for choice in self.choices)


def difference(a: Seen, b: Seen) -> str | None:
    """Between answers, never evidence: the first thing in which ``b`` is not ``a``."""
    return next(_differences(a, b), None)


def _differences(a: Seen, b: Seen) -> Iterator[str]:
    if a.status != b.status or b.status == 0:  # no answer is wrong, also where there was none before
        yield f"status {b.status} ({b.error[:160]}), not {a.status} ({a.error[:80]})"
    if a.prompt_tokens != b.prompt_tokens:
        yield f"{b.prompt_tokens} prompt tokens, not {a.prompt_tokens}"
    for i, (one, other) in enumerate(zip(a.choices, b.choices, strict=False)):
        until = one.comparable(other)
        if until is None:
            yield from (f"choice {i}: {found}" for found in _whole_differences(one, other))
        if not _close(one.logprobs[:until], other.logprobs[:until]):
            yield f"choice {i}: log-probabilities {_short(other.logprobs)}, not {_short(one.logprobs)}"
    if len(a.choices) != len(b.choices):
        yield f"{len(b.choices)} choices, not {len(a.choices)}"
    if not _close(a.prompt_logprobs or [], b.prompt_logprobs or []):
        yield f"prompt log-probabilities {_short(b.prompt_logprobs or [])}, not {_short(a.prompt_logprobs or [])}"


def _whole_differences(one: Choice, other: Choice) -> Iterator[str]:
    if one.ids != other.ids:
        yield f"ids {other.ids}, not {one.ids}"
    if one.text != other.text:
        yield f"text {other.text!r}, not {one.text!r}"
    if one.finish != other.finish:
        yield f"ended by {other.finish}, not {one.finish}"


def leave_open(seen: Seen, as_in: Seen) -> Seen:
    """``seen``, whose picks are open where those of ``as_in`` are, for as long as both picked the same."""
    for choice, known in zip(seen.choices, as_in.choices, strict=False):
        same = next((i for i, (a, b) in enumerate(zip(choice.ids, known.ids, strict=False)) if a != b), None)
        choice.open = known.open[:same]
    return seen


def evidence_difference(a: Any, b: Any) -> str | None:
    """Of what was run: ids, spans, positions, rows. ``a`` and ``b`` are the engine's own evidence."""
    if (a is None) != (b is None):
        return f"evidence {'missing' if b is None else 'unasked'}"
    if a is None:
        return None
    for name in ("prompt_ids", "mrope_delta", "positions_digest"):
        if getattr(a, name) != getattr(b, name):
            return f"{name}: {str(getattr(b, name))[:120]}, not {str(getattr(a, name))[:120]}"
    for one, other in zip(a.items, b.items, strict=False):
        for name in ("spans", "grids", "placeholders", "encoder_rows"):
            if getattr(one, name) != getattr(other, name):
                return f"item {one.item}: {name} {getattr(other, name)}, not {getattr(one, name)}"
        if not _close(one.rows_sketch, other.rows_sketch, SKETCH_TOLERANCE):
            return f"item {one.item}: other rows ({_short(other.rows_sketch)}, not {_short(one.rows_sketch)})"
    return None if len(a.items) == len(b.items) else f"{len(b.items)} items, not {len(a.items)}"


def _close(a: Sequence[float | None], b: Sequence[float | None], tolerance: float = TOLERANCE) -> bool:
    if len(a) != len(b):
        return False
    return all(
        x is y or (x is not None and y is not None and abs(x - y) <= tolerance * max(1.0, abs(x)))
        for x, y in zip(a, b, strict=True)
    )


def _short(values: Sequence[float | None]) -> str:
    shown = ", ".join("none" if value is None else f"{value:.4f}" for value in values[:6])
    return f"[{shown}{', ...' if len(values) > 6 else ''}]"
