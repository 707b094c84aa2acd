"""A sliced variant of the grid families: a tall image is several bands, each a grid and a span.

It exists because models whose items own several spans (MiniCPM-V) break engines in ways that one-span models never
show (sglang#26442). It runs the same weights: an image cut into bands equals the bands sent as images of their own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from PIL import Image
from torch import Tensor

from reference_engine.multimodal.families.grid import GridFamily
from reference_engine.multimodal.family import Pixels, Tensors, Traits
from reference_engine.multimodal.placeholders import ItemSize, Layout, Modality, Size
from reference_engine.request import Video


@dataclass(frozen=True)
class Sliced:
    """One image, a span for every horizontal band, with the family's own image separators between the spans."""

    whole: GridFamily
    rows: int
    """Height of a band in cells (a cell is one token)."""
    separator_ids: tuple[int, ...]
    """What stands between two images in the family's template."""
    separator: str = "<|vision_end|><|vision_start|>"

    @property
    def name(self) -> str:
        return f"{self.whole.name}_sliced"

    @property
    def traits(self) -> Traits:
        """Videos are not sliced, and so not served."""
        refused: dict[Modality, int] = {**self.whole.placeholders, **self.whole.traits.refused}
        del refused["image"]
        return replace(self.whole.traits, refused=refused)

    @property
    def placeholders(self) -> Mapping[Modality, int]:
        return {"image": self.whole.placeholders["image"]}

    @property
    def written(self) -> Mapping[Modality, str]:
        return {"image": self.whole.written["image"]}

    def bands(self, size: Size) -> list[tuple[int, int]]:
        """(top, bottom) of each band in pixels, bottom exclusive. A rest lower than a cell joins the band above."""
        _, height = size
        step, cell = self.rows * self.whole.patcher.cell, self.whole.patcher.cell
        tops = [top for top in range(0, height, step) if top == 0 or height - top >= cell]
        return list(zip(tops, [*tops[1:], height], strict=True))

    def layout(self, modality: Modality, size: ItemSize, index: int = 0, count: int = 1) -> Layout:
        width, height = size[:2]
        bands = self.bands((width, height))
        return self._join([self.whole.layout("image", (width, bottom - top)) for top, bottom in bands])

    def pixels(self, modality: Modality, item: Image.Image | Video, index: int = 0, count: int = 1) -> Pixels:
        if isinstance(item, Video):
            raise ValueError("videos are not sliced")
        crops = [item.crop((0, top, item.width, bottom)) for top, bottom in self.bands(item.size)]
        made = [self.whole.pixels("image", crop) for crop in crops]
        return Pixels(self.collate([band.tensors for band in made]), self._join([band.layout for band in made]))

    def _join(self, bands: Sequence[Layout]) -> Layout:
        ids: list[int] = []
        spans = []
        for band in bands:
            ids += self.separator_ids if ids else ()
            spans += [(first + len(ids), last + len(ids)) for first, last in band.spans]
            ids += band.ids
        grids = [grid for band in bands for grid in band.grids]
        return Layout(ids, spans, grids, self.separator.join(band.text for band in bands))

    def collate(self, items: Sequence[Tensors]) -> Tensors:
        return self.whole.collate(items)

    def span_rows(self, rows: Any, deepstack: Sequence[Any], items: Sequence[Tensors]) -> list[list[Tensor]]:
        return self.whole.span_rows(rows, deepstack, items)


def sliced(whole: GridFamily, rows: int, config: Any, codec: Any) -> Sliced:
    """The variant of a checkpoint that frames its images with start and end tokens."""
    between = (config.vision_end_token_id, config.vision_start_token_id)
    return Sliced(whole, rows, between, "".join(map(codec.name, between)))
