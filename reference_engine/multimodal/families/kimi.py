"""Kimi K2.5: native resolution up to a budget of patches, padded to whole tokens; positions are plain.

Its decoder is DeepSeek-V3's (multi-head latent attention, experts). A released checkpoint's own processor counts an
image's tokens with ``media_tokens_calculator``, transformers' with ``get_number_of_image_patches``; whichever is there
is asked (sglang#26555). Videos are not served.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from reference_engine.multimodal.family import Pixels, Tensors, Traits
from reference_engine.multimodal.placeholders import ItemSize, Layout, Modality, Size
from reference_engine.request import Video


@dataclass(frozen=True)
class Kimi:
    processor: Any
    """The image processor alone."""
    placeholders: Mapping[Modality, int]
    written: Mapping[Modality, str]
    traits: Traits
    name: str = "kimi_k25"

    @classmethod
    def of(cls, config: Any, processors: Any, codec: Any) -> Kimi:
        return cls(
            processor=processors.image,
            placeholders={"image": config.image_token_id},
            written={"image": codec.name(config.image_token_id)},
            traits=Traits(refused={"video": config.video_token_id}),
        )

    def layout(self, modality: Modality, size: ItemSize, index: int = 0, count: int = 1) -> Layout:
        return self._laid(count_tokens(self.processor, (size[0], size[1])))

    def pixels(self, modality: Modality, item: Image.Image | Video, index: int = 0, count: int = 1) -> Pixels:
        made = dict(self.processor(images=[item], return_tensors="pt"))
        return Pixels(made, self._laid(int(made["image_grid_thw"].prod()) // self.processor.merge_size**2))

    def _laid(self, tokens: int) -> Layout:
        ids = [self.placeholders["image"]] * tokens
        return Layout(ids, [(0, tokens - 1)], text=self.written["image"] * tokens)

    def collate(self, items: Sequence[Tensors]) -> Tensors:
        return {name: torch.cat([item[name] for item in items]) for name in items[0]}

    def span_rows(self, rows: Any, deepstack: Sequence[Any], items: Sequence[Tensors]) -> list[list[Tensor]]:
        return [[rows_RD] for rows_RD in rows]


def count_tokens(processor: Any, size: Size) -> int:
    """Tokens of one image of this (width, height)."""
    width, height = size
    if hasattr(processor, "media_tokens_calculator"):
        return int(processor.media_tokens_calculator({"type": "image", "image": Image.new("RGB", size)}))
    return int(processor.get_number_of_image_patches(height, width)) // int(processor.merge_size) ** 2
