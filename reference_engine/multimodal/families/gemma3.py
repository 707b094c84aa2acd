"""Gemma 3: every image is resized to one square and has as many tokens as any other, framed by its own start and end
tokens and blank lines. Tokens of one image see each other both ways; most layers see a sliding window only.

What a caller writes for an image is the start token; the features have an id of their own. The blank lines may merge
with the caller's text when that is tokenized, so text prompts are expanded as text first (``closed`` is False). Pan and
scan, which its processor leaves off unless asked, is not served.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from reference_engine.errors import ConfigError
from reference_engine.multimodal.family import Pixels, Tensors, Traits
from reference_engine.multimodal.placeholders import ItemSize, Layout, Modality
from reference_engine.request import Video


@dataclass(frozen=True)
class Gemma3:
    processor: Any
    """The image processor alone."""
    placeholders: Mapping[Modality, int]
    written: Mapping[Modality, str]
    laid: Layout
    """The same for every image."""
    name: str = "gemma3"
    traits: Traits = field(default_factory=lambda: Traits(both_ways=True))

    @classmethod
    def of(cls, config: Any, processors: Any, codec: Any) -> Gemma3:
        if codec.tokenizer is None:
            raise ConfigError("skip_tokenizer_init: gemma3 writes blank lines around an image, which must be tokenized")
        start, feature, end = config.boi_token_index, config.image_token_id, config.eoi_token_index
        tokens = config.mm_tokens_per_image
        blank = codec.encode("\n\n")
        ids = [*blank, start, *[feature] * tokens, end, *blank]
        text = f"\n\n{codec.name(start)}{codec.name(feature) * tokens}{codec.name(end)}\n\n"
        span = (len(blank) + 1, len(blank) + tokens)
        return cls(
            processor=processors.image,
            placeholders={"image": start},
            written={"image": codec.name(start)},
            laid=Layout(ids, [span], text=text, closed=False),
        )

    def layout(self, modality: Modality, size: ItemSize, index: int = 0, count: int = 1) -> Layout:
        return self.laid

    def pixels(self, modality: Modality, item: Image.Image | Video, index: int = 0, count: int = 1) -> Pixels:
        made = self.processor(images=[item], return_tensors="pt")
        return Pixels({"pixel_values": made["pixel_values"]}, self.laid)

    def collate(self, items: Sequence[Tensors]) -> Tensors:
        return {"pixel_values": torch.cat([item["pixel_values"] for item in items])}

    def span_rows(self, rows: Any, deepstack: Sequence[Any], items: Sequence[Tensors]) -> list[list[Tensor]]:
        return [[rows_RD] for rows_RD in rows]
