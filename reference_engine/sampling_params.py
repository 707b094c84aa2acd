"""How a request wants its tokens picked. Each parameter is declared once: name, type, default, and which values are
allowed. The server's fields are read from here too.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from reference_engine.errors import RequestError

LARGEST_INTEGER = 2**63 - 1
MAX_STOPS = 16
MAX_STOP_LENGTH = 512
MAX_CHOICES = 128
MAX_GRAMMAR = 32_768
"""Characters of a schema or regular expression. Some take time in the square of that: 3 s for the hardest known."""


def _declare(default: Any, allows: Callable[[Any], bool], allowed: str) -> Any:
    rule = {"allows": allows, "allowed": allowed}
    if isinstance(default, Mapping):
        return field(default_factory=lambda: dict(default), metadata=rule)
    return field(default=default, metadata=rule)


def _is_int(value: object, low: int, high: float = math.inf) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _is_number(value: object, low: float, high: float = math.inf) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return math.isfinite(value) and low <= value <= high


def _whole(default: int, low: int) -> Any:
    allowed = f"an integer of at least {low} that fits in 64 bits"
    return _declare(default, lambda v: _is_int(v, low, LARGEST_INTEGER), allowed)


def _number(default: float, low: float, high: float) -> Any:
    return _declare(default, lambda v: _is_number(v, low, high), f"a number from {low:g} to {high:g}")


def _flag() -> Any:
    return _declare(False, lambda v: isinstance(v, bool), "true or false")


def _are_stops(stops: object) -> bool:
    if not isinstance(stops, (tuple, list)) or len(stops) > MAX_STOPS:
        return False
    return all(isinstance(s, str) and 0 < len(s) <= MAX_STOP_LENGTH for s in stops)


def _grammar() -> Any:
    allowed = f"a text of 1 to {MAX_GRAMMAR} characters"
    return _declare(None, lambda v: v is None or (isinstance(v, str) and 0 < len(v) <= MAX_GRAMMAR), allowed)


def _is_bias(bias: object) -> bool:
    return isinstance(bias, Mapping) and all(_is_number(value, -100, 100) for value in bias.values())


@dataclass(frozen=True)
class SamplingParams:
    """Field names follow SGLang's ``sampling_params``. Every default leaves the model's choice as it is: greedy."""

    max_new_tokens: int = _whole(128, 1)
    min_new_tokens: int = _whole(0, 0)
    """Before that many, no end token or stop id can be drawn, and stop strings are not looked for."""
    temperature: float = _number(0.0, 0, 1e6)
    """0 is greedy. What float32 does not hold would make barred tokens NaN."""
    top_p: float = _declare(1.0, lambda v: _is_number(v, 0, 1) and v > 0, "a number above 0 and at most 1")
    top_k: int = _declare(
        -1, lambda v: v == -1 or _is_int(v, 1, LARGEST_INTEGER), "-1 (off) or an integer of at least 1"
    )
    min_p: float = _number(0.0, 0, 1)
    """Least probability a token must have, as a share of the most probable one's."""
    repetition_penalty: float = _number(1.0, 0.01, 100)
    """Logits of tokens in prompt or answer are divided by it, or multiplied where negative (as transformers does)."""
    presence_penalty: float = _number(0.0, -2, 2)
    """Taken from the logits of tokens that the answer holds (as OpenAI does)."""
    frequency_penalty: float = _number(0.0, -2, 2)
    """Taken from the logits of tokens once for each time that the answer holds them."""
    logit_bias: Mapping[int, float] = _declare({}, _is_bias, "a mapping from ids to numbers from -100 to 100")
    """Added to the logits of these ids."""
    seed: int | None = _declare(
        None, lambda v: v is None or _is_int(v, 0, LARGEST_INTEGER), f"an integer from 0 to {LARGEST_INTEGER}"
    )
    """The same seed draws the same tokens from the same logits. None: one is made up for the request."""
    n: int = _declare(1, lambda v: _is_int(v, 1, MAX_CHOICES), f"an integer from 1 to {MAX_CHOICES}")
    """Choices to make of one prompt. Each draws numbers of its own from the seed; greedy ones are all the same."""
    stop: tuple[str, ...] = _declare(
        (), _are_stops, f"a list of at most {MAX_STOPS} strings of 1 to {MAX_STOP_LENGTH} characters"
    )
    stop_token_ids: tuple[int, ...] = _declare((), lambda v: isinstance(v, (tuple, list)), "a list of ids")
    no_stop_trim: bool = _flag()
    """Leave the stop string (or the text of the stop id) at the end of the text."""
    ignore_eos: bool = _flag()
    json_schema: str | None = _grammar()
    """The answer is JSON that this schema, written as text, allows."""
    regex: str | None = _grammar()
    """The answer is what this regular expression matches, from its first character to its last."""


def check_sampling(params: SamplingParams, vocabulary: int, eos_ids: Collection[int] = ()) -> None:
    """Raise :class:`RequestError` (400) for a value that cannot be meant."""
    for declared in fields(params):
        value = getattr(params, declared.name)
        if not declared.metadata["allows"](value):
            raise _refusal(declared.name, f"{value!r} is not {declared.metadata['allowed']}")
    for name in ("stop_token_ids", "logit_bias"):
        for token in getattr(params, name):
            if not _is_int(token, 0, vocabulary - 1):
                raise _refusal(name, f"{token!r} is not an id from 0 to {vocabulary - 1}")
    _check_ends(params, vocabulary, eos_ids)


def _check_ends(params: SamplingParams, vocabulary: int, eos_ids: Collection[int]) -> None:
    least, most = params.min_new_tokens, params.max_new_tokens
    if least > most:
        raise _refusal("min_new_tokens", f"{least} is more than max_new_tokens, {most}")
    if least and len(end_ids(params, eos_ids)) >= vocabulary:
        raise _refusal("min_new_tokens", f"{least} tokens cannot be drawn: every id of the vocabulary ends the answer")

    asked = grammar_of(params)
    if asked is not None:
        _check_grammar(params, asked[0])


def _check_grammar(params: SamplingParams, name: str) -> None:
    """An answer that is complete must be able to end."""
    if params.json_schema is not None and params.regex is not None:
        raise _refusal("regex", "was sent beside json_schema; an answer is held to one of them")
    for other in ("ignore_eos", "min_new_tokens"):
        if getattr(params, other):
            raise _refusal(other, f"cannot be kept beside {name}: once the answer is complete, nothing may follow")


def grammar_of(params: SamplingParams) -> tuple[str, str] | None:
    """The parameter that holds the answer to a grammar, and its value; None where there is none."""
    if params.json_schema is not None:
        return "json_schema", params.json_schema
    return None if params.regex is None else ("regex", params.regex)


def seed_of(params: SamplingParams) -> int:
    """The seed that was given, or one made up."""
    return secrets.randbits(63) if params.seed is None else params.seed


def end_ids(params: SamplingParams, eos_ids: Collection[int]) -> frozenset[int]:
    """The ids that end an answer."""
    return frozenset(params.stop_token_ids) | (frozenset() if params.ignore_eos else frozenset(eos_ids))


def _refusal(name: str, message: str) -> RequestError:
    return RequestError(f"sampling_params.{name}", message)
