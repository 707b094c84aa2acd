"""InternVL: an image is tiles and a thumbnail, all in one span between two markers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from reference_engine.multimodal.families.written import WrittenFamily
from reference_engine.multimodal.family import Tensors
from reference_engine.multimodal.placeholders import Size


class InternVL(WrittenFamily):
    def reported(self, size: Size, index: int, count: int) -> Mapping[str, Any]:
        width, height = size
        tiles = self.processor.image_processor.get_number_of_image_patches(height, width, self.options)
        return {"num_patches": [tiles]}

    def kept(self, made: Mapping[str, Any]) -> Tensors:
        return {"pixel_values": made["pixel_values"]}

    def collate(self, items: Sequence[Tensors]) -> Tensors:
        return {"pixel_values": torch.cat([item["pixel_values"] for item in items])}

    def span_rows(self, rows: Any, deepstack: Sequence[Any], items: Sequence[Tensors]) -> list[list[Tensor]]:
        """The model returns [tiles of all items, rows a tile, E]."""
        tiles = [len(item["pixel_values"]) for item in items]
        return [[part.flatten(0, 1)] for part in rows.split(tiles)]
