"""The vision tower's attention: within each segment (an image, a frame or a window), never across.

Shapes: T tokens of all segments, or of one image of B, N segments of one length L, H heads, D head width.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.weak import WeakIdKeyDictionary


def segment_attention(
    module: nn.Module,
    q_1HTD: Tensor,
    k_1HTD: Tensor,
    v_1HTD: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float,
    cu_seq_lens_q: Tensor,
    **_: Any,
) -> tuple[Tensor, None]:
    """Full attention within each segment, one call for all segments of a length. Returns [1, T, H, D]."""
    groups, order_T = segment_groups(bounds_of(cu_seq_lens_q), q_1HTD.device)
    q_THD, k_THD, v_THD = (x[0].transpose(0, 1) for x in (q_1HTD, k_1HTD, v_1HTD))
    parts_THD = []
    for places_NL in groups:
        q, k, v = (x[places_NL].transpose(1, 2) for x in (q_THD, k_THD, v_THD))
        out_NHLD = F.scaled_dot_product_attention(q, k, v, scale=scaling)
        parts_THD.append(out_NHLD.transpose(1, 2).flatten(0, 1))
    return torch.cat(parts_THD)[order_T][None], None


def segment_attention_apart(
    module: nn.Module,
    q_1HTD: Tensor,
    k_1HTD: Tensor,
    v_1HTD: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float,
    cu_seq_lens_q: Tensor,
    **_: Any,
) -> tuple[Tensor, None]:
    """The same, one call a segment: nothing about a segment can depend on the others, not even rounding."""
    parts_1HLD = []
    for start, stop in pairwise(bounds_of(cu_seq_lens_q)):
        q, k, v = (x[:, :, start:stop].contiguous() for x in (q_1HTD, k_1HTD, v_1HTD))
        parts_1HLD.append(F.scaled_dot_product_attention(q, k, v, scale=scaling))
    return torch.cat(parts_1HLD, dim=2).transpose(1, 2), None


def image_attention_apart(
    module: nn.Module,
    q_BHTD: Tensor,
    k_BHTD: Tensor,
    v_BHTD: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float,
    **_: Any,
) -> tuple[Tensor, None]:
    """For a tower that takes images as a batch: full attention within each, one call an image. [B, T, H, D]."""
    parts_1HTD = [
        F.scaled_dot_product_attention(
            q_BHTD[i : i + 1].contiguous(), k_BHTD[i : i + 1].contiguous(), v_BHTD[i : i + 1].contiguous(),
            attn_mask=None if attention_mask is None else attention_mask[i : i + 1], scale=scaling,
        )
        for i in range(len(q_BHTD))
    ]  # fmt: skip
    return torch.cat(parts_1HTD).transpose(1, 2), None


_bounds = WeakIdKeyDictionary()


def bounds_of(cu_seq_lens: Tensor) -> tuple[int, ...]:
    """Its values on the host. Layers of a tower share one tensor: only the first waits for the device to have it."""
    known: tuple[int, ...] | None = _bounds.get(cu_seq_lens)
    if known is None:
        known = _bounds[cu_seq_lens] = tuple(cu_seq_lens.tolist())
    return known


@lru_cache(maxsize=8)
def segment_groups(bounds: tuple[int, ...], device: torch.device) -> tuple[list[Tensor], Tensor]:
    """Places [segments, length] for every length that occurs, and the order that puts their tokens back in place."""
    starts: dict[int, list[int]] = {}
    for start, stop in pairwise(bounds):
        if stop > start:
            starts.setdefault(stop - start, []).append(start)
    groups = [torch.tensor(first)[:, None] + torch.arange(length) for length, first in starts.items()]
    order_T = torch.argsort(torch.cat([places.flatten() for places in groups]))
    return [places.to(device) for places in groups], order_T.to(device)
