"""transformers as installed: Qwen2.5-VL's own token counts and MRoPE positions, as other engines borrow them.

It expands prompts as text, not as ids, and its model splits encoder rows inside; those are not offered here.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from importlib.metadata import version
from types import SimpleNamespace
from typing import Any

import torch

from harness.implementations.base import Grid, ImageGeometry, Implementation, Positions, Refusal, Size, Span


def _module(name: str) -> Any:
    importlib.import_module(
        "reference_engine.hf"
    )  # lets transformers load beside a torchvision built for another torch
    return importlib.import_module(f"transformers.models.{name}")


def image_processor(geometry: ImageGeometry) -> Any:
    """Qwen2.5-VL's, PIL backend, with these numbers and everything else at its defaults."""
    return _module("qwen2_vl.image_processing_pil_qwen2_vl").Qwen2VLImageProcessorPil(
        patch_size=geometry.patch_size,
        merge_size=geometry.merge_size,
        size={"shortest_edge": geometry.min_pixels, "longest_edge": geometry.max_pixels},
    )


def count_tokens(sizes: Sequence[Size], geometry: ImageGeometry) -> list[list[int]]:
    """What the image processor says, without looking at pixels."""
    processor = image_processor(geometry)
    counts = []
    for width, height in sizes:
        try:
            patches = processor.get_number_of_image_patches(height, width, {})
        except ValueError as error:
            raise Refusal(str(error)) from error
        counts.append([patches // geometry.merge_size**2])
    return counts


def place_positions(length: int, spans: Sequence[Span], grids: Sequence[Grid], merge_size: int) -> Positions:
    """``get_rope_index`` as the model calls it; no weights are needed for it."""
    model_class = _module("qwen2_5_vl.modeling_qwen2_5_vl").Qwen2_5_VLModel
    vision = SimpleNamespace(spatial_merge_size=merge_size, tokens_per_second=2)
    model = SimpleNamespace(config=SimpleNamespace(vision_config=vision))
    model.get_vision_position_ids = model_class.get_vision_position_ids.__get__(model)
    kinds = torch.zeros(1, length, dtype=torch.int)
    for start, end in spans:
        kinds[0, start : end + 1] = 1
    positions, delta = model_class.get_rope_index(
        model,
        torch.zeros(1, length, dtype=torch.long),
        mm_token_type_ids=kinds,
        image_grid_thw=torch.tensor(grids).reshape(-1, 3) if grids else None,
    )
    return Positions(positions[:, 0].tolist(), int(delta))


def implementation(plant: str | None = None) -> Implementation:
    """The installed release. Raises :class:`LookupError` if a fault is asked for: none can be planted in it."""
    if plant is not None:
        raise LookupError(f"fault {plant!r} cannot be planted in transformers; faults live in the reference engine")
    in_text = "prompts are expanded as text, inside the processor"
    return Implementation(
        name="transformers",
        version=version("transformers"),
        count_tokens=count_tokens,
        place_positions=place_positions,
        reasons={"expand_ids": in_text, "contract_ids": in_text, "split_rows": "done inside the model"},
    )
