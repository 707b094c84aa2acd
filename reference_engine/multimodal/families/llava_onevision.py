"""LLaVA-OneVision: the only image of a request is tiled by its shape, the images of a request with several are not;
each is one span, as long as its shape demands.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from reference_engine.multimodal.families.written import WrittenFamily
from reference_engine.multimodal.family import Tensors
from reference_engine.multimodal.placeholders import Size


class LlavaOnevision(WrittenFamily):
    def reported(self, size: Size, index: int, count: int) -> Mapping[str, Any]:
        width, height = size
        tile = self.processor.image_processor.size
        blank = np.broadcast_to(np.float32(0), (3, tile["height"], tile["width"]))
        return {"batch_num_images": [count], "image_sizes": [[height, width]] * count, "pixel_values": [[blank]]}

    def nested(self, item: Image.Image, count: int) -> Any:
        """What is not tiled is known by a neighbour in its list."""
        return [[item] * min(count, 2)]

    def kept(self, made: Mapping[str, Any]) -> Tensors:
        names = ("pixel_values", "image_sizes", "batch_num_images")
        return {name: torch.as_tensor(made[name])[:1] for name in names}

    def collate(self, items: Sequence[Tensors]) -> Tensors:
        """Tiled images first: the model is told how many of the rest go together, and one is tiled if told 'one'."""
        ordered = [items[i] for i in _tiled_first(items)]
        joined = dict(super().collate([{k: v for k, v in item.items() if k != "batch_num_images"} for item in ordered]))
        tiled = sum(map(_is_tiled, items))
        rest = [max(2, len(items) - tiled)] if tiled < len(items) else []
        return joined | {"batch_num_images": torch.tensor([1] * tiled + rest)}

    def span_rows(self, rows: Any, deepstack: Sequence[Any], items: Sequence[Tensors]) -> list[list[Tensor]]:
        split = dict(zip(_tiled_first(items), rows, strict=True))
        return [[split[i]] for i in range(len(items))]


def _is_tiled(item: Tensors) -> bool:
    return int(item["batch_num_images"][0]) == 1


def _tiled_first(items: Sequence[Tensors]) -> list[int]:
    return sorted(range(len(items)), key=lambda i: not _is_tiled(items[i]))
