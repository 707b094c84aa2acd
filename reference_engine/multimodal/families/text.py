"""Models of text alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image
from torch import Tensor

from reference_engine.multimodal.family import Pixels, Tensors, Traits
from reference_engine.multimodal.placeholders import ItemSize, Layout, Modality
from reference_engine.request import Video


@dataclass(frozen=True)
class TextOnly:
    """No placeholder, so nothing below is ever asked."""

    name: str
    placeholders: Mapping[Modality, int]
    written: Mapping[Modality, str]
    traits: Traits

    @classmethod
    def of(cls, config: Any, processors: Any, codec: Any) -> TextOnly:
        return cls(config.model_type, {}, {}, Traits())

    def layout(self, modality: Modality, size: ItemSize, index: int = 0, count: int = 1) -> Layout:
        raise ValueError(f"{self.name} takes no {modality}s")

    def pixels(self, modality: Modality, item: Image.Image | Video, index: int = 0, count: int = 1) -> Pixels:
        raise ValueError(f"{self.name} takes no {modality}s")

    def collate(self, items: Sequence[Tensors]) -> Tensors:
        raise ValueError(f"{self.name} has no encoder")

    def span_rows(self, rows: Any, deepstack: Sequence[Any], items: Sequence[Tensors]) -> list[list[Tensor]]:
        raise ValueError(f"{self.name} has no encoder")
