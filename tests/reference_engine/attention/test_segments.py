"""Segments attend only to themselves, whatever their lengths and order."""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from reference_engine.attention import image_attention_apart, segment_attention

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


@pytest.mark.parametrize("masked", [False, True])
def test_images_apart_are_those_of_a_batch(masked: bool) -> None:
    q, k, v = torch.randn(3, 3, HEADS, 10, WIDTH, generator=torch.Generator().manual_seed(2))
    mask = torch.ones(3, 1, 10, 10, dtype=torch.bool)
    mask[1, ..., 6:] = False  # an image with padding
    given = mask if masked else None
    out, _ = image_attention_apart(MODULE, q, k, v, given, scaling=WIDTH**-0.5)
    assert torch.allclose(out, F.scaled_dot_product_attention(q, k, v, attn_mask=given).transpose(1, 2), atol=1e-6)
    for i in range(3):
        one, _ = image_attention_apart(
            MODULE, *(x[i : i + 1] for x in (q, k, v)), mask[i : i + 1] if masked else None, scaling=WIDTH**-0.5
        )
        assert torch.equal(one, out[i : i + 1])
