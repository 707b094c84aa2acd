"""Which tokens may stand where an engine picked one: all that win under some logits that differ from its own by at most
:data:`~harness.differential.seen.LOGIT_NOISE` each.

Engines that are both right add in other orders. Where two tokens are nearly level, or the random number lies on the
border between two, such noise decides. Whatever is proved here to be open is no difference; everything else is.

Shapes: V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from harness.differential.seen import LOGIT_NOISE, Seen
from reference_engine import Engine, SamplingParams
from reference_engine.sampler import SampleRow, changed_logits

Picks = dict[tuple[int, int], frozenset[int]]
"""By (choice, place in the answer)."""


@contextmanager
def noted(engine: Engine) -> Iterator[Picks]:
    """What is open in the answer to the one request that ``engine`` runs meanwhile."""
    picks: Picks = {}
    seams = engine.seams
    engine.seams = replace(seams, sample=_noting(seams.sample, picks))
    try:
        yield picks
    finally:
        engine.seams = seams


def _noting(sample: Callable[..., Any], picks: Picks) -> Callable[..., Any]:
    def sample_and_note(logits_BV: Tensor, rows: Sequence[SampleRow]) -> Any:
        for row, logits_V in zip(rows, changed_logits(logits_BV, rows), strict=True):
            place = len(row.output_ids)
            number = 0.0 if row.is_greedy else row.draws.at(place)
            picks[row.draws.index, place] = open_tokens(logits_V, row.params, None if row.is_greedy else number)
        return sample(logits_BV, rows)

    return sample_and_note


def note(seen: Seen, picks: Picks) -> Seen:
    for index, choice in enumerate(seen.choices):
        choice.open = [picks.get((index, place), frozenset()) for place in range(len(choice.ids))]
    return seen


def open_greedily(likeliest: Sequence[Sequence[tuple[int, float]]]) -> list[frozenset[int]]:
    """The same where only an answer is known: of each greedy pick with no penalties, from the likeliest tokens and
    their log-probabilities, which differ as the logits do. All that are told are open where even the last one is.
    """
    return [
        frozenset(token for token, logprob in place if logprob >= place[0][1] - 2 * LOGIT_NOISE) for place in likeliest
    ]


def open_tokens(logits_V: Tensor, params: SamplingParams, number: float | None) -> frozenset[int]:
    """``logits_V`` are those to pick from; ``number`` is the one drawn, None where the largest logit wins."""
    logits_V = logits_V.double()
    noise = LOGIT_NOISE * max(params.repetition_penalty, 1 / params.repetition_penalty)
    if number is None:
        may_V = logits_V >= logits_V.max() - 2 * noise
    else:
        scaled_V, noise = logits_V / params.temperature, noise / params.temperature
        may_V = _under(number, scaled_V - scaled_V.max(), noise, *_kept(scaled_V - scaled_V.max(), params, noise))
    return frozenset(torch.nonzero(may_V)[:, 0].tolist())


def _under(number: float, scaled_V: Tensor, noise: float, may_V: Tensor, must_V: Tensor) -> Tensor:
    """Tokens in whose part of the cumulated probabilities the number may lie. Bool [V]."""
    weights_V, most = scaled_V.exp(), math.exp(2 * noise)
    sure_V, possible_V = (weights_V * must_V).cumsum(0), (weights_V * may_V).cumsum(0)
    least_V = sure_V / (sure_V + most * (possible_V[-1] - possible_V))
    most_V = most * possible_V / (most * possible_V + sure_V[-1] - sure_V)
    before_V = torch.cat([least_V.new_zeros(1), least_V[:-1]])
    return may_V & (before_V <= number) & (number < most_V.clamp(max=1).masked_fill(most_V >= 1, math.inf))


def _kept(scaled_V: Tensor, params: SamplingParams, noise: float) -> tuple[Tensor, Tensor]:
    """Which tokens the cuts may leave, and which they must."""
    may_V = must_V = scaled_V > -math.inf
    if 0 < params.top_k < len(scaled_V):
        last, next_one = scaled_V.topk(params.top_k + 1).values[-2:].tolist()
        may_V, must_V = may_V & (scaled_V >= last - 2 * noise), must_V & (scaled_V > next_one + 2 * noise)
    if params.top_p < 1:
        may_V, must_V = _kept_by_sum(scaled_V, params.top_p, noise, may_V, must_V)
    if params.min_p > 0:
        border = scaled_V.max() + math.log(params.min_p)
        may_V, must_V = may_V & (scaled_V >= border - 2 * noise), must_V & (scaled_V > border + 2 * noise)
    return may_V, must_V


def _kept_by_sum(scaled_V: Tensor, p: float, noise: float, may_V: Tensor, must_V: Tensor) -> tuple[Tensor, Tensor]:
    """A token is kept while those before it, from the likeliest on, sum up to less than ``p``."""
    weights_V, most = scaled_V.exp(), math.exp(2 * noise)
    sure_V, possible_V = weights_V * must_V, weights_V * may_V
    kept = [may_V.clone(), must_V.clone()]
    for token in torch.nonzero(may_V)[:, 0].tolist():
        ahead_V, beside_V = (scaled_V > scaled_V[token] + d for d in (2 * noise, -2 * noise))
        beside_V[token] = False
        least, rest = sure_V[ahead_V].sum(), possible_V[~ahead_V].sum()
        largest, other = possible_V[beside_V].sum(), sure_V[~beside_V].sum()
        kept[0][token] = least / (least + most * rest) < p
        kept[1][token] &= bool(most * largest / (most * largest + other) < p)
    return kept[0], kept[1]
