"""From logits to token ids, all requests of a step at once.

Greedy rows take the arg max. The others are scaled by temperature, cut by top-k then top-p (the order of transformers)
and drawn by inverse transform with ONE uniform number each, from the request's own generator: what a request draws
depends on its seed and its position, never on its batch mates. Log-probabilities are those of the model itself, before
temperature and cuts.

Shapes: B rows, V vocabulary.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from reference_engine.errors import RequestError
from reference_engine.request import SamplingParams

GREEDY_BELOW = 1e-5
"""A lower temperature is greedy: dividing by it would overflow."""


class Draw:
    """The random numbers of one request."""

    def __init__(self, seed: int | None) -> None:
        self._random = random.Random(seed)

    def uniform(self) -> float:
        """In [0, 1)."""
        return self._random.random()


@dataclass(frozen=True)
class SampleRow:
    """What sampling needs to know about one row of logits."""

    params: SamplingParams
    draw: Draw
    want_logprob: bool


@dataclass(frozen=True)
class Sampled:
    token: int
    logprob: float | None


def sample(logits_BV: Tensor, rows: Sequence[SampleRow]) -> list[Sampled | RequestError]:
    """One token a row, or an error (500) for a row whose logits are not all finite numbers."""
    tokens_B = logits_BV.argmax(dim=-1)
    drawn = [i for i, row in enumerate(rows) if row.params.temperature >= GREEDY_BELOW]
    if drawn:
        tokens_B[drawn] = draw_tokens(logits_BV[drawn], [rows[i] for i in drawn])
    logprobs = _logprobs(logits_BV, tokens_B, [i for i, row in enumerate(rows) if row.want_logprob])
    finite = logits_BV.isfinite().all(dim=-1).tolist()
    return [
        Sampled(token, logprobs.get(i))
        if finite[i]
        else RequestError("logits", "the model returned NaN or infinity", status=500)
        for i, token in enumerate(tokens_B.tolist())
    ]


def draw_tokens(logits_BV: Tensor, rows: Sequence[SampleRow]) -> Tensor:
    """Random tokens int64 [B] for rows with a temperature above zero."""
    temperature_B1 = torch.tensor([[row.params.temperature] for row in rows])
    scaled_BV, order_BV = (logits_BV.float() / temperature_B1).sort(dim=-1, descending=True, stable=True)
    probabilities_BV = kept_probabilities(scaled_BV, [row.params for row in rows])
    cumulative_BV = probabilities_BV.double().cumsum(dim=-1)
    uniform_B1 = torch.tensor([[row.draw.uniform()] for row in rows], dtype=torch.float64)
    places_B1 = torch.searchsorted(cumulative_BV, uniform_B1 * cumulative_BV[:, -1:], right=True)
    last_kept_B1 = (probabilities_BV > 0).sum(dim=-1, keepdim=True) - 1
    return order_BV.gather(1, places_B1.minimum(last_kept_B1).clamp(min=0))[:, 0]


def kept_probabilities(scaled_BV: Tensor, params: Sequence[SamplingParams]) -> Tensor:
    """Probabilities of logits sorted downwards, zero where top-k or top-p cut them; not normalized again."""
    size = scaled_BV.shape[1]
    k_B1 = torch.tensor([[p.top_k if p.top_k > 0 else size] for p in params])
    p_B1 = torch.tensor([[p.top_p] for p in params])
    probabilities_BV = scaled_BV.masked_fill(torch.arange(size) >= k_B1, -math.inf).softmax(dim=-1)
    before_BV = probabilities_BV.cumsum(dim=-1) - probabilities_BV
    return probabilities_BV.masked_fill((before_BV >= p_B1) & (p_B1 < 1), 0.0)


def _logprobs(logits_BV: Tensor, tokens_B: Tensor, wanted: list[int]) -> dict[int, float]:
    if not wanted:
        return {}
    chosen_B = logits_BV[wanted].float().log_softmax(dim=-1).gather(1, tokens_B[wanted, None])[:, 0]
    return dict(zip(wanted, chosen_B.tolist(), strict=True))


def check_sampling(params: SamplingParams, vocabulary: int) -> None:
    """Raise :class:`RequestError` (400) for a value that cannot be meant."""
    checks = {
        "max_new_tokens": (_is_int(params.max_new_tokens, 1), "an integer of at least 1"),
        "temperature": (_is_number(params.temperature, 0.0, math.inf), "a number of at least 0"),
        "top_p": (_is_number(params.top_p, 0.0, 1.0) and params.top_p > 0, "a number above 0 and at most 1"),
        "top_k": (params.top_k == -1 or _is_int(params.top_k, 1), "-1 (off) or an integer of at least 1"),
        "seed": (params.seed is None or _is_int(params.seed, 0), "an integer of at least 0"),
        "stop": (_are_stops(params.stop), f"at most {MAX_STOPS} strings of 1 to {MAX_STOP_LENGTH} characters"),
        "stop_token_ids": (
            all(_is_int(i, 0) and i < vocabulary for i in params.stop_token_ids), f"ids from 0 to {vocabulary - 1}"
        ),
    }  # fmt: skip
    for name, (good, allowed) in checks.items():
        if not good:
            raise RequestError(f"sampling_params.{name}", f"{getattr(params, name)!r} is not {allowed}")


MAX_STOPS = 16
MAX_STOP_LENGTH = 512


def _is_int(value: object, low: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= low


def _is_number(value: object, low: float, high: float) -> bool:
    return (
        isinstance(value, (int, float))
        and not isinstance(value, bool)
        and math.isfinite(value)
        and low <= value <= high
    )


def _are_stops(stops: object) -> bool:
    if not isinstance(stops, (tuple, list)) or len(stops) > MAX_STOPS:
        return False
    return all(isinstance(s, str) and 0 < len(s) <= MAX_STOP_LENGTH for s in stops)
