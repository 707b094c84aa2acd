"""The Triton backend gives what the plain one gives, through the same seam, over a run of steps; in batch_invariant
mode an engine's answers keep their bits.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from tests.reference_engine.kernels.runnable import need_triton

DEVICE = need_triton()

from reference_engine import Engine, EngineConfig, Request, SamplingParams  # noqa: E402
from reference_engine.attention import Window  # noqa: E402
from reference_engine.attention.sdpa import SDPAStep  # noqa: E402
from reference_engine.attention.triton import InvariantTritonStep, TritonStep  # noqa: E402
from reference_engine.kv_cache import KVCache  # noqa: E402

HEADS, SHARED, WIDTH = 6, 2, 24


def new_cache() -> KVCache:
    return KVCache(
        layers=2, heads=SHARED, width=WIDTH, blocks=64, block_size=4, lanes=4, longest=100, dtype=torch.float32,
        device=DEVICE,
    )  # fmt: skip


@pytest.mark.parametrize("backend", [TritonStep, InvariantTritonStep])
@pytest.mark.parametrize(("seed", "softcap", "sliding"), [(0, None, None), (1, 0.7, 6)])
def test_steps_equal_the_plain_backend(
    backend: type[TritonStep], seed: int, softcap: float | None, sliding: int | None
) -> None:
    """Prompts in random cuts, some decoding already; both caches hold the same in the end."""
    rng = np.random.default_rng(seed)
    generator = torch.Generator().manual_seed(seed)
    ours, plain = new_cache(), new_cache()
    prompts = [30, 7, 19]
    lanes = [ours.open(60) for _ in prompts]
    assert lanes == [plain.open(60) for _ in prompts]
    done = dict.fromkeys(lanes, 0)
    for _ in range(6):
        windows = []
        for lane, prompt in zip(lanes, prompts, strict=True):
            left = prompt - done[lane]
            windows.append(Window(lane, done[lane], done[lane] + (int(rng.integers(1, left + 1)) if left > 0 else 1)))
            done[lane] = windows[-1].stop
        windows.sort(key=lambda w: w.length > 1)
        rows = sum(w.length for w in windows)
        q, k, v = (
            torch.randn(1, h, rows, WIDTH, generator=generator).to(DEVICE) for h in (HEADS, SHARED, SHARED)
        )  # fmt: skip
        got, expected = (
            made(cache, windows).attend(1, q, k, v, WIDTH**-0.5, sliding, softcap)
            for made, cache in ((backend, ours), (SDPAStep, plain))
        )
        assert torch.allclose(got, expected, atol=3e-6)
    assert torch.equal(ours.keys_NKSHD, plain.keys_NKSHD)
    assert torch.equal(ours.values_NKSHD, plain.values_NKSHD)


def test_an_engine_answers_as_with_the_plain_backend() -> None:
    """Through transformers' own layers, whole engine and self-test at load."""
    texts = ["<|im_start|>user\nrow 1<|im_end|>\n", "Describe the digit"]
    requests = [Request(str(i), text=text, sampling=SamplingParams(max_new_tokens=3)) for i, text in enumerate(texts)]
    ours, plain = (
        Engine(EngineConfig(device=DEVICE, attention=attention, chunked_prefill=4, num_blocks=16)).generate(requests)
        for attention in ("triton", "torch")
    )
    assert [a.output_ids for a in ours] == [a.output_ids for a in plain]
    assert all(len(a.output_ids) > 0 for a in ours)


def test_bits_of_an_engine_in_batch_invariant_mode() -> None:
    """By the kernels throughout, an image included: alone, then in company, which cuts prompts elsewhere; decoding
    steps are replayed. Loading compares whole prompts with cut ones.
    """
    config = EngineConfig(
        model="random-qwen2.5-vl", device=DEVICE, attention="triton", batch_invariant=True, prefix_cache=False,
        cuda_graph=True, chunked_prefill=5, num_blocks=16,
    )  # fmt: skip
    engine, sampling = Engine(config), SamplingParams(max_new_tokens=2, ignore_eos=True)
    image = Image.new("RGB", (56, 28), (200, 30, 90))
    requests = [
        Request("image", text="a<|image_pad|>b", images=[image], sampling=sampling, want_logprobs=True),
        Request("text", text="a b c d e f g", sampling=sampling, want_logprobs=True),
    ]
    alone = [engine.generate([request])[0] for request in requests]
    together = engine.generate(requests[::-1])[::-1]
    assert all(len(a.output_ids) == 2 for a in alone)
    assert [(a.output_ids, a.logprobs) for a in together] == [(a.output_ids, a.logprobs) for a in alone]
