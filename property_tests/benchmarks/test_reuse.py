"""A prompt prepared from images, or from what a processor made of them before (sglang#26116). No weights are needed.

``pytest property_tests/benchmarks/test_reuse.py --benchmark-enable -n0`` measures, on four images of 1024x768.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from PIL import Image

from reference_engine import EngineConfig, Request
from reference_engine.multimodal.processor_output import ProcessorOutput
from reference_engine.multimodal.prompt import PromptBuilder
from reference_engine.predict import Predictor

SLOT = "<|vision_start|><|image_pad|><|vision_end|>"


@pytest.mark.benchmark(group="preparing a prompt")
@pytest.mark.parametrize("reuse", [True, False])
def test_preparing(benchmark: Callable[..., Any], request: pytest.FixtureRequest, reuse: bool) -> None:
    size = (1024, 768) if request.config.getoption("--benchmark-enable") else (56, 84)
    text, images = f"{SLOT * 4}compare", [Image.effect_noise(size, 50).convert("RGB") for _ in range(4)]
    config = EngineConfig(reuse_processor_output=reuse)
    builder = PromptBuilder(Predictor(config).placer)
    plain = builder.build(Request("a", text=text, images=images))
    names = plain.items[0].pixels
    tensors = {name: torch.cat([item.pixels[name] for item in plain.items]) for name in names}
    given = ProcessorOutput(plain.ids, tensors, plain.positions_3L, plain.delta)
    made = benchmark(builder.build, Request("b", text=text, images=images, processor_output=given))
    assert (made.ids, made.delta, made.reuse.acted) == (plain.ids, plain.delta, reuse)
    assert torch.equal(made.positions_3L, plain.positions_3L)
