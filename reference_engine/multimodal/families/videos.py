"""Videos of the grid families: one grid of frames, written by the checkpoint's own processor.

Qwen2-VL and Qwen2.5-VL write one run for a video; Qwen3-VL and GLM-4V write every pair of frames apart, with its time
before or after it, each a span and a grid of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from reference_engine.multimodal.family import Pixels, Tensors
from reference_engine.multimodal.placeholders import Grid, Layout, VideoSize, placeholder_runs
from reference_engine.request import Video

SLOWEST, FASTEST = 0.001, 1000
"""Frames a second that are believed."""


class VideoPatcher(Protocol):
    """The checkpoint's processor of videos."""

    def grid(self, size: VideoSize) -> Grid:
        """From the size alone. Raises ``ValueError`` for a size that cannot be served."""

    def patches(self, video: Video) -> Tensors:
        """``pixel_values_videos`` [P, C] and ``video_grid_thw`` [1, 3]."""

    def written(self, grid: Grid, size: VideoSize) -> str:
        """What the placeholder becomes."""

    def seconds(self, size: VideoSize) -> float:
        """From one patch of frames to the next. Raises ``ValueError`` without a frame rate."""


@dataclass(frozen=True)
class Videos:
    patcher: VideoPatcher
    encode: Callable[[str], list[int]]
    feature_id: int
    apart: bool = False
    """Whether each patch of frames is a span of its own."""
    timed: bool = False
    """Whether what is written, or where it is placed, depends on the frame rate."""
    positions_per_second: float | None = None
    """In families that place frames by time (Qwen2.5-VL)."""

    def layout(self, size: VideoSize) -> Layout:
        return self._laid(self.patcher.grid(size), size)

    def pixels(self, video: Video) -> Pixels:
        tensors = self.patcher.patches(video)
        t, h, w = tensors["video_grid_thw"][0].tolist()
        return Pixels(tensors, self._laid((t, h, w), video.size))

    def _laid(self, grid: Grid, size: VideoSize) -> Layout:
        _check_rate(size.fps, needed=self.timed)
        text = self.patcher.written(grid, size)
        ids = self.encode(text)
        t, h, w = grid
        return Layout(
            ids=ids,
            spans=placeholder_runs(ids, self.feature_id),
            grids=[(1, h, w)] * t if self.apart else [grid],
            text=text,
            modality="video",
            closed=not self.apart,
            strides=self._strides(size),
        )

    def _strides(self, size: VideoSize) -> list[float]:
        """In float32, as transformers computes it: positions are cut to whole numbers afterwards."""
        if self.positions_per_second is None:
            return []
        return [float(torch.tensor(self.patcher.seconds(size)) * self.positions_per_second)]

    def spans(self, rows_RD: Tensor, frames: int) -> list[Tensor]:
        """The rows of one video by span. ``ValueError`` where frames do not have rows alike."""
        if not self.apart:
            return [rows_RD]
        if len(rows_RD) % frames:
            raise ValueError(f"{len(rows_RD)} rows are not those of {frames} equal frames")
        return list(rows_RD.split(len(rows_RD) // frames))


def _check_rate(fps: float | None, *, needed: bool) -> None:
    """``ValueError`` for a frame rate that no video has: times and positions are computed from it."""
    if fps is None:
        if needed:
            raise ValueError("this family needs the video's frame rate; send fps")
    elif not SLOWEST <= fps <= FASTEST:
        raise ValueError(f"fps {fps} is not from {SLOWEST} to {FASTEST}")


def videos_of(config: Any, processors: Any, codec: Any, **how: Any) -> Videos | None:
    """None where video processors cannot be had (they need torchvision)."""
    if not processors.has_videos:
        return None
    return Videos(processors.videos, codec.encode, **{"feature_id": config.video_token_id, **how})
