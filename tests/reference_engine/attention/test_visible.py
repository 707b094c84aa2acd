"""What a token may see: causal, sliding windows, spans seen both ways; in every plain backend, in any chunks."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from reference_engine.attention import Window
from reference_engine.attention.paged import visible
from reference_engine.attention.sdpa import SDPAStep
from reference_engine.attention.tiled import TiledStep
from reference_engine.kv_cache import KVCache

LENGTH, HEADS, KEYS, VALUES = 37, 2, 8, 5
IMAGE = (10, 18)


def rule(query: int, key: int, sliding: int | None, image: tuple[int, int] | None) -> bool:
    """Written token by token, on purpose."""
    if image and image[0] <= query <= image[1] and image[0] <= key <= image[1]:
        return True
    return key <= query and (sliding is None or query - key < sliding)


@pytest.mark.parametrize("image", [None, IMAGE])
@pytest.mark.parametrize("sliding", [None, 1, 6, 100])
def test_mask_is_the_rule(sliding: int | None, image: tuple[int, int] | None) -> None:
    mask = visible(Window(0, 4, 25, (image,) if image else ()), sliding)
    assert mask is not None
    assert mask.tolist() == [[rule(q, k, sliding, image) for k in range(25)] for q in range(4, 25)]


def test_a_whole_causal_prompt_needs_no_mask() -> None:
    assert visible(Window(0, 0, 9), None) is None
    assert visible(Window(0, 0, 9), 9) is None
    assert visible(Window(0, 0, 9), 8) is not None


@pytest.mark.parametrize("cuts", [[LENGTH], [10, 19, LENGTH], [5, 20, 21, 22, 36, LENGTH]])
@pytest.mark.parametrize(("backend", "sliding", "image"), [
    (SDPAStep, 6, None), (SDPAStep, None, IMAGE), (SDPAStep, 6, IMAGE), (TiledStep, 6, None),
])  # fmt: skip
def test_backends_follow_it_in_any_chunks(
    backend: Any, sliding: int | None, image: tuple[int, int] | None, cuts: list[int]
) -> None:
    generator = torch.Generator().manual_seed(3)
    q, k = (torch.randn(1, HEADS, LENGTH, KEYS, generator=generator) for _ in range(2))
    v = torch.randn(1, HEADS, LENGTH, VALUES, generator=generator)
    cache = KVCache(
        layers=1, heads=HEADS, width=KEYS, value_width=VALUES, blocks=20, block_size=4, lanes=2, longest=64,
        dtype=torch.float32, device="cpu",
    )  # fmt: skip
    lane, start, parts = cache.open(LENGTH), 0, []
    for stop in cuts:
        spans = (image,) if image and start <= image[1] < stop else ()
        step = backend(cache, [Window(lane, start, stop, spans)])
        part = slice(start, stop)
        parts.append(step.attend(0, q[:, :, part], k[:, :, part], v[:, :, part], 0.3, sliding))
        start = stop
    mask = torch.tensor([[rule(a, b, sliding, image) for b in range(LENGTH)] for a in range(LENGTH)])
    wanted = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=0.3)[0].transpose(0, 1)
    assert torch.allclose(torch.cat(parts), wanted, atol=1e-6)
