"""Families whose own processor writes what an image's placeholder becomes: tiles with tags between them, or one run as
long as the image's shape demands.

The text side gives the processor's ``replace_image_token`` what its image processor would report of an image of that
size; the pixel side gives it what it really reported. So both are the checkpoint's own words, and they are compared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from reference_engine.multimodal.family import Pixels, Tensors, Traits, refused_placeholders
from reference_engine.multimodal.placeholders import ItemSize, Layout, Modality, Size, placeholder_runs
from reference_engine.request import Video


@dataclass(frozen=True)
class WrittenFamily:
    """Subclasses say what is reported of a size, how images are nested, and how a pass is joined and split."""

    processor: Any
    """transformers' whole processor."""
    codec: Any
    placeholders: Mapping[Modality, int]
    written: Mapping[Modality, str]
    feature_id: int
    """The id that features replace; some families' placeholder is another one."""
    traits: Traits
    name: str

    @classmethod
    def of(cls, config: Any, processors: Any, codec: Any) -> WrittenFamily:
        processor = processors.whole
        placeholder = processor.tokenizer.convert_tokens_to_ids(processor.image_token)
        return cls(
            processor=processor,
            codec=codec,
            placeholders={"image": placeholder},
            written={"image": processor.image_token},
            feature_id=config.image_token_id,
            traits=Traits(refused=refused_placeholders(config, {"image"})),
            name=config.model_type,
        )

    @cached_property
    def options(self) -> Mapping[str, Any]:
        """What the processor passes to its image processor."""
        merged: Mapping[str, Any] = self.processor._merge_kwargs(tokenizer_init_kwargs={}, return_tensors="pt")
        return merged["images_kwargs"]

    def reported(self, size: Size, index: int, count: int) -> Mapping[str, Any]:
        """What the image processor would report of one image of this size."""
        raise NotImplementedError

    def nested(self, item: Image.Image, count: int) -> Any:
        """One image as this image processor takes it."""
        return [item]

    def kept(self, made: Mapping[str, Any]) -> Tensors:
        """Of what the image processor made, the inputs of the encoder."""
        raise NotImplementedError

    def layout(self, modality: Modality, size: ItemSize, index: int = 0, count: int = 1) -> Layout:
        return self._laid(self.write(self.reported((size[0], size[1]), index, count), index))

    def pixels(self, modality: Modality, item: Image.Image | Video, index: int = 0, count: int = 1) -> Pixels:
        if isinstance(item, Video):
            raise ValueError(f"{self.name} takes no videos")
        made = self.processor.image_processor(self.nested(item, count), **self.options)
        return Pixels(self.kept(made), self._laid(self.write(made, index)))

    def write(self, made: Mapping[str, Any], index: int) -> str:
        """What the placeholder of image number ``index`` becomes, from what was reported of it."""
        text: str = self.processor.replace_image_token(made, image_idx=0)
        return text

    def _laid(self, text: str) -> Layout:
        ids = self.codec.encode(text)
        special = set(self.codec.special.values())
        closed = ids[0] in special and ids[-1] in special
        return Layout(ids, placeholder_runs(ids, self.feature_id), text=text, closed=closed)

    def collate(self, items: Sequence[Tensors]) -> Tensors:
        return {name: pad_tiles([item[name] for item in items]) for name in items[0]}

    def span_rows(self, rows: Any, deepstack: Sequence[Any], items: Sequence[Tensors]) -> list[list[Tensor]]:
        raise NotImplementedError


def pad_tiles(tensors: Sequence[Tensor]) -> Tensor:
    """[1, tiles, ...] of each item -> [items, most tiles, ...], zeros where an item has fewer."""
    if tensors[0].ndim < 4:
        return torch.cat(list(tensors))
    most = max(tensor.shape[1] for tensor in tensors)
    return torch.cat([F.pad(t, (0, 0) * (t.ndim - 2) + (0, most - t.shape[1])) for t in tensors])


def even_split(rows_RE: Tensor, parts: int) -> list[Tensor]:
    """Rows of tiles that are all alike. ``ValueError`` where they do not divide."""
    if len(rows_RE) % parts:
        raise ValueError(f"{len(rows_RE)} rows are not those of {parts} equal tiles")
    return list(rows_RE.split(len(rows_RE) // parts))
