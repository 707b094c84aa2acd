"""Which tokens may be drawn: top-k, then top-p, then min-p, by transformers' rules and in its order.

Each is a threshold under which a row's tokens are excluded. Tokens that tie with the last one kept are kept too,
whatever their order: transformers does so for top-k, and leaves it to its sort for top-p. A row's result does not
depend on the other rows.

Shapes: D rows, R rows that a cut concerns, V vocabulary, H likeliest tokens.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from reference_engine.sampling_params import SamplingParams

HEAD = 1024
"""Top-p looks at this many of the likeliest tokens before it sorts a whole vocabulary."""


def truncate(scaled_DV: Tensor, params: Sequence[SamplingParams]) -> Tensor:
    """Logits, divided by temperature already, with -inf for what is excluded. Writes to ``scaled_DV``; returns it."""
    _apply(_top_k, scaled_DV, [(i, p.top_k) for i, p in enumerate(params) if p.top_k > 0])
    _apply(_top_p, scaled_DV, [(i, p.top_p) for i, p in enumerate(params) if p.top_p < 1])
    _apply(_min_p, scaled_DV, [(i, p.min_p) for i, p in enumerate(params) if p.min_p > 0])
    return scaled_DV


Cut = Callable[[Tensor, list[float]], Tensor]


def _apply(cut: Cut, scaled_DV: Tensor, rows: Sequence[tuple[int, float]]) -> None:
    if rows:
        places = [i for i, _ in rows]
        scaled_RV = scaled_DV[places]
        scaled_DV[places] = scaled_RV.masked_fill(cut(scaled_RV, [value for _, value in rows]), -math.inf)


def _top_k(scaled_RV: Tensor, values: list[float]) -> Tensor:
    """True where a logit is below the k-th largest."""
    counts = [min(int(k), scaled_RV.shape[1]) for k in values]
    largest_RK = scaled_RV.topk(max(counts), dim=-1).values
    last_R1 = torch.tensor([[k - 1] for k in counts], device=scaled_RV.device)
    return scaled_RV < largest_RK.gather(1, last_R1)


def _top_p(scaled_RV: Tensor, values: list[float]) -> Tensor:
    """True where a token is less probable than the last one needed for a sum of p."""
    probabilities_RV = scaled_RV.softmax(dim=-1)
    p_R1 = torch.tensor(values, dtype=torch.float64, device=scaled_RV.device)[:, None]
    size = min(HEAD, scaled_RV.shape[1])
    last_R1, count_R1 = _last_needed(probabilities_RV, p_R1, size)
    wide_R = count_R1[:, 0] == size
    if size < scaled_RV.shape[1] and bool(wide_R.any()):
        last_R1[wide_R], _ = _last_needed(probabilities_RV[wide_R], p_R1[wide_R], scaled_RV.shape[1])
    return probabilities_RV < last_R1


def _last_needed(probabilities_RV: Tensor, p_R1: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Of the ``size`` likeliest, the probability of the last one needed for a sum of p, and how many that are."""
    head_RH = probabilities_RV.topk(size, dim=-1).values
    before_RH = head_RH.double().cumsum(dim=-1) - head_RH
    count_R1 = (before_RH < p_R1).sum(dim=-1, keepdim=True)
    return head_RH.gather(1, count_R1 - 1), count_R1


def _min_p(scaled_RV: Tensor, values: list[float]) -> Tensor:
    """True where a token is less probable than this share of the most probable one."""
    share_R1 = torch.tensor(values, dtype=torch.float32, device=scaled_RV.device)[:, None]
    return scaled_RV < scaled_RV.amax(dim=-1, keepdim=True) + share_R1.log()
