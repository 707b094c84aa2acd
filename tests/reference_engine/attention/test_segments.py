"""Segments attend only to themselves, whatever their lengths and order."""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F

from reference_engine.attention import segment_attention

HEADS, WIDTH = 4, 8
MODULE: Any = SimpleNamespace(layer_idx=1)


def test_segments_of_several_lengths_keep_their_order() -> None:
    q, k, v = torch.randn(3, 1, HEADS, 20, WIDTH, generator=torch.Generator().manual_seed(1))
    bounds = torch.tensor([0, 3, 7, 10, 16, 20])
    out, _ = segment_attention(MODULE, q, k, v, None, scaling=WIDTH**-0.5, cu_seq_lens_q=bounds)
    parts = list(pairwise(bounds.tolist()))
    expected = torch.cat(
        [F.scaled_dot_product_attention(q[:, :, a:b], k[:, :, a:b], v[:, :, a:b]) for a, b in parts], dim=2
    )
    assert torch.allclose(out, expected.transpose(1, 2), atol=1e-6)
