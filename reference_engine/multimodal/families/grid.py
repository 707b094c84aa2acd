"""What Qwen's, GLM's and Kimi's families have in common: an image is one grid of patches, one span, and the encoder
returns the rows of each grid apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import torch
from PIL import Image
from torch import Tensor

from reference_engine.multimodal.family import Pixels, Tensors, Traits
from reference_engine.multimodal.placeholders import Grid, Layout, Modality, Size, span_tokens


class Patcher(Protocol):
    """Turns one image into one grid of patches, as the checkpoint's own processor does."""

    merge_size: int
    cell: int
    """Pixels, on a side, of the square that becomes one token."""

    def grid(self, size: Size) -> Grid:
        """From the size alone. Raises ``ValueError`` for a size that cannot be served."""

    def patches(self, image: Image.Image) -> Tensors:
        """``pixel_values`` [P, C] and ``image_grid_thw`` [1, 3]."""


@dataclass(frozen=True)
class GridFamily:
    """One image, one span: the placeholder repeated."""

    patcher: Patcher
    placeholders: Mapping[Modality, int]
    written: Mapping[Modality, str]
    traits: Traits
    name: str

    def layout(self, modality: Modality, size: Size, index: int = 0, count: int = 1) -> Layout:
        return self._laid(self.patcher.grid(size))

    def pixels(self, modality: Modality, item: Image.Image, index: int = 0, count: int = 1) -> Pixels:
        tensors = self.patcher.patches(item)
        t, h, w = tensors["image_grid_thw"][0].tolist()
        return Pixels(tensors, self._laid((t, h, w)))

    def _laid(self, grid: Grid) -> Layout:
        tokens = span_tokens(grid, self.patcher.merge_size)
        return Layout(
            ids=[self.placeholders["image"]] * tokens,
            spans=[(0, tokens - 1)],
            grids=[grid],
            text=self.written["image"] * tokens,
        )

    def collate(self, items: Sequence[Tensors]) -> Tensors:
        return {name: torch.cat([item[name] for item in items]) for name in items[0]}

    def span_rows(self, rows: Any, deepstack: Sequence[Any], items: Sequence[Tensors]) -> list[list[Tensor]]:
        queue = iter(with_deepstack(rows, deepstack))
        return [[next(queue) for _ in _grids(item)] for item in items]


F = TypeVar("F", bound=GridFamily)


def grid_family(cls: type[F], config: Any, patcher: Patcher, codec: Any) -> F:
    """A family of this kind, from transformers' configuration."""
    return cls(
        patcher=patcher,
        placeholders={"image": config.image_token_id},
        written={"image": codec.name(config.image_token_id)},
        traits=Traits(
            mrope=True,
            merge_size=patcher.merge_size,
            segments=True,
            refused={"video": config.video_token_id},
        ),
        name=config.model_type,
    )


def with_deepstack(rows: Sequence[Tensor], deepstack: Sequence[Sequence[Tensor]]) -> list[Tensor]:
    """Rows [r, E] of each grid, and those of every deepstack layer beside them: [r, E x (1 + M)]."""
    return [torch.cat(parts, dim=-1) for parts in zip(rows, *deepstack, strict=True)]


def _grids(item: Tensors) -> Tensor:
    return next(value for name, value in item.items() if name.endswith("_grid_thw"))
