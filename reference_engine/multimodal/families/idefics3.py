"""Idefics3 and SmolVLM: an image is rows and columns of tiles and the whole once more, each a span with a tag before
it.

The model's list of rows is one entry a batch row, not one an image (an engine that takes it for images pads or
truncates), and it drops tiles that are all zero, by which it knows padding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image
from torch import Tensor

from reference_engine.multimodal.families.written import WrittenFamily, even_split
from reference_engine.multimodal.family import Tensors
from reference_engine.multimodal.placeholders import Size


class Idefics3(WrittenFamily):
    def reported(self, size: Size, index: int, count: int) -> Mapping[str, Any]:
        width, height = size
        _, rows, columns = self.processor.image_processor.get_number_of_image_patches(height, width, self.options)
        return {"rows": [[rows]], "cols": [[columns]]}

    def nested(self, item: Image.Image, count: int) -> Any:
        return [[item]]

    def kept(self, made: Mapping[str, Any]) -> Tensors:
        return {name: made[name] for name in ("pixel_values", "pixel_attention_mask")}

    def span_rows(self, rows: Any, deepstack: Sequence[Any], items: Sequence[Tensors]) -> list[list[Tensor]]:
        return [even_split(r, item["pixel_values"].shape[1]) for r, item in zip(rows, items, strict=True)]
