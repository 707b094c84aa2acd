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

from reference_engine.multimodal.families.videos import Videos
from reference_engine.multimodal.family import Pixels, Tensors, Traits, refused_placeholders
from reference_engine.multimodal.placeholders import (
    Grid,
    ItemSize,
    Layout,
    Modality,
    Size,
    VideoSize,
    span_tokens,
)
from reference_engine.request import Video


class Patcher(Protocol):
    """Turns one image into one grid of patches, as the checkpoint's own processor does."""

    merge_size: int
    cell: int
    """Pixels, on a side, of the square that becomes one token."""
    values: int
    """Numbers of one patch, C."""

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
    videos: Videos | None = None

    def layout(self, modality: Modality, size: ItemSize, index: int = 0, count: int = 1) -> Layout:
        if isinstance(size, VideoSize):
            return self._videos().layout(size)
        return self._laid(self.patcher.grid(size))

    def pixels(self, modality: Modality, item: Image.Image | Video, index: int = 0, count: int = 1) -> Pixels:
        if isinstance(item, Video):
            return self._videos().pixels(item)
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

    def _videos(self) -> Videos:
        if self.videos is None:
            raise ValueError(f"{self.name} takes no videos here")
        return self.videos

    def collate(self, items: Sequence[Tensors]) -> Tensors:
        return {name: torch.cat([item[name] for item in items]) for name in items[0]}

    def divide(self, tensors: Tensors) -> list[Pixels]:
        """Images only."""
        if set(tensors) != {"pixel_values", "image_grid_thw"}:
            raise ValueError(f"holds {sorted(tensors)}; pixel_values and image_grid_thw are needed")
        pixels_PC, grids_I3 = tensors["pixel_values"], tensors["image_grid_thw"]
        merge, values = self.patcher.merge_size, self.patcher.values
        if grids_I3.ndim != 2 or grids_I3.shape[1] != 3 or grids_I3.is_floating_point():
            raise ValueError(
                f"image_grid_thw: {grids_I3.dtype} {list(grids_I3.shape)}; integers [images, 3] are needed"
            )
        grids: list[Grid] = [(t, h, w) for t, h, w in grids_I3.tolist()]
        for i, (t, h, w) in enumerate(grids):
            if t != 1 or min(h, w) < 1 or h % merge or w % merge:
                raise ValueError(
                    f"image_grid_thw[{i}]: {[t, h, w]} is no image's grid of {merge}x{merge} patches a token"
                )
        patches = [h * w for _, h, w in grids]
        if list(pixels_PC.shape) != [sum(patches), values] or not pixels_PC.is_floating_point():
            raise ValueError(
                f"pixel_values: {pixels_PC.dtype} {list(pixels_PC.shape)}; the grids need floats "
                f"[{sum(patches)}, {values}]"
            )
        parts = zip(pixels_PC.float().split(patches), grids_I3.long().split(1), grids, strict=True)
        return [Pixels({"pixel_values": p, "image_grid_thw": g}, self._laid(grid)) for p, g, grid in parts]

    def span_rows(self, rows: Any, deepstack: Sequence[Any], items: Sequence[Tensors]) -> list[list[Tensor]]:
        queue = iter(with_deepstack(rows, deepstack))
        return [[part for _ in _grids(item) for part in self._spans(next(queue), item)] for item in items]

    def _spans(self, rows_RD: Tensor, item: Tensors) -> list[Tensor]:
        """The rows of one grid, by span: a video's frames may stand apart."""
        if "video_grid_thw" not in item:
            return [rows_RD]
        return self._videos().spans(rows_RD, int(item["video_grid_thw"][0, 0]))


F = TypeVar("F", bound=GridFamily)


def grid_family(cls: type[F], config: Any, patcher: Patcher, codec: Any, videos: Videos | None = None) -> F:
    """A family of this kind, from transformers' configuration. Without ``videos`` their placeholder is refused."""
    served: dict[Modality, int] = {"image": config.image_token_id}
    if videos is not None:
        served["video"] = config.video_token_id
    return cls(
        patcher=patcher,
        placeholders=served,
        written={modality: codec.name(token) for modality, token in served.items()},
        traits=Traits(
            mrope=True,
            merge_size=patcher.merge_size,
            segments=True,
            refused=refused_placeholders(config, served),
        ),
        name=config.model_type,
        videos=videos,
    )


def with_deepstack(rows: Sequence[Tensor], deepstack: Sequence[Sequence[Tensor]]) -> list[Tensor]:
    """Rows [r, E] of each grid, and those of every deepstack layer beside them: [r, E x (1 + M)]."""
    return [torch.cat(parts, dim=-1) for parts in zip(rows, *deepstack, strict=True)]


def _grids(item: Tensors) -> Tensor:
    return next(value for name, value in item.items() if name.endswith("_grid_thw"))
