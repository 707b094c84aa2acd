"""LLaVA 1.5: every image is cropped to one square and has as many tokens as any other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from reference_engine.multimodal.families.written import WrittenFamily
from reference_engine.multimodal.family import Tensors
from reference_engine.multimodal.placeholders import Size


class Llava(WrittenFamily):
    def reported(self, size: Size, index: int, count: int) -> Mapping[str, Any]:
        crop = self.processor.image_processor.crop_size
        return {"pixel_values": [np.broadcast_to(np.float32(0), (3, crop["height"], crop["width"]))]}

    def kept(self, made: Mapping[str, Any]) -> Tensors:
        return {"pixel_values": made["pixel_values"]}

    def collate(self, items: Sequence[Tensors]) -> Tensors:
        return {"pixel_values": torch.cat([item["pixel_values"] for item in items])}

    def span_rows(self, rows: Any, deepstack: Sequence[Any], items: Sequence[Tensors]) -> list[list[Tensor]]:
        return [[rows_RE] for rows_RE in rows]
