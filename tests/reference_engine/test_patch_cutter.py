"""Patches cut by table are the processor's own, bit for bit; one that does anything else is used as it is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from reference_engine.hf import PatchProcessor, load_image_processor
from reference_engine.sentinels import resolve_model

SENTINEL = resolve_model("sentinel-qwen2.5-vl")


def noise(width: int, height: int) -> Image.Image:
    generator = np.random.default_rng(width * height)
    return Image.fromarray(generator.integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.fixture(scope="module")
def processor() -> Any:
    return load_image_processor(SENTINEL)


@pytest.mark.parametrize("size", [(28, 28), (1, 29), (300, 41), (56, 140), (640, 480)])
def test_patches_are_the_processors_own(processor: Any, size: tuple[int, int]) -> None:
    image = noise(*size)
    patcher = PatchProcessor(processor)
    assert patcher._cut is not None
    made, own = patcher.patches(image), processor(images=[image], return_tensors="pt")
    assert made.keys() == own.keys()
    assert all(torch.equal(made[name], own[name]) for name in made)


@pytest.mark.parametrize(
    ("setting", "value"),
    [("do_rescale", False), ("do_normalize", False), ("image_mean", (0.1, 0.2, 0.3)), ("resample", 0)],
)
def test_settings_of_the_checkpoint_are_followed(setting: str, value: Any) -> None:
    processor = load_image_processor(SENTINEL)
    setattr(processor, setting, value)
    patcher = PatchProcessor(processor)
    assert patcher._cut is not None
    own = processor(images=[noise(90, 61)], return_tensors="pt")
    assert torch.equal(patcher.patches(noise(90, 61))["pixel_values"], own["pixel_values"])


def test_a_processor_that_does_more_is_asked_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    processor = load_image_processor(SENTINEL)
    plain = type(processor).patchify
    monkeypatch.setattr(type(processor), "patchify", lambda self, image, **sizes: plain(self, image[:, ::-1], **sizes))
    patcher = PatchProcessor(processor)
    assert patcher._cut is None
    own = processor(images=[noise(56, 56)], return_tensors="pt")
    assert torch.equal(patcher.patches(noise(56, 56))["pixel_values"], own["pixel_values"])
