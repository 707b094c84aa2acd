"""Qwen2.5-VL: an image is one grid, one span. Its sliced variant: a tall image is several bands, each a grid and a
span.

The variant exists because models whose items own several spans (MiniCPM-V) break engines in ways that one-span models
never show (sglang#26442). It runs the same weights: an image cut into bands equals the bands sent as images of their
own.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

from reference_engine.multimodal.family import ImagePatcher
from reference_engine.multimodal.placeholders import Grid, Size


@dataclass(frozen=True)
class Qwen25VL:
    """One item, one span: the placeholder repeated."""

    patcher: ImagePatcher
    placeholder_id: int
    placeholder: str = "<|image_pad|>"
    name: str = "qwen2_5_vl"

    @property
    def merge_size(self) -> int:
        return self.patcher.merge_size

    def grids(self, size: Size) -> list[Grid]:
        return [self.patcher.grid(size)]

    def patches(self, image: Image.Image) -> tuple[Tensor, list[Grid]]:
        pixels_PC, grid = self.patcher.patches(image)
        return pixels_PC, [grid]

    def replacement(self, counts: list[int]) -> list[int]:
        return [self.placeholder_id] * counts[0]

    def replacement_text(self, counts: list[int]) -> str:
        return self.placeholder * counts[0]


@dataclass(frozen=True)
class SlicedQwen25VL:
    """One item, a span for every horizontal band, with the family's own image separators between the spans."""

    whole: Qwen25VL
    rows: int
    """Height of a band in cells (a cell is one token, 28 pixels)."""
    separator_ids: tuple[int, ...]
    """What stands between two images in the family's template."""
    separator: str = "<|vision_end|><|vision_start|>"
    name: str = "qwen2_5_vl_sliced"

    @property
    def merge_size(self) -> int:
        return self.whole.merge_size

    @property
    def placeholder_id(self) -> int:
        return self.whole.placeholder_id

    @property
    def placeholder(self) -> str:
        return self.whole.placeholder

    def bands(self, size: Size) -> list[tuple[int, int]]:
        """(top, bottom) of each band in pixels, bottom exclusive. A rest lower than a cell joins the band above."""
        _, height = size
        step, cell = self.rows * self.whole.patcher.cell, self.whole.patcher.cell
        tops = [top for top in range(0, height, step) if top == 0 or height - top >= cell]
        return list(zip(tops, [*tops[1:], height], strict=True))

    def grids(self, size: Size) -> list[Grid]:
        return [self.whole.patcher.grid((size[0], bottom - top)) for top, bottom in self.bands(size)]

    def patches(self, image: Image.Image) -> tuple[Tensor, list[Grid]]:
        crops = [image.crop((0, top, image.width, bottom)) for top, bottom in self.bands(image.size)]
        pixels, grids = zip(*[self.whole.patcher.patches(crop) for crop in crops], strict=True)
        return torch.cat(pixels), list(grids)

    def replacement(self, counts: list[int]) -> list[int]:
        ids: list[int] = []
        for count in counts:
            ids += [*(self.separator_ids if ids else ()), *[self.placeholder_id] * count]
        return ids

    def replacement_text(self, counts: list[int]) -> str:
        return self.separator.join(self.placeholder * count for count in counts)
