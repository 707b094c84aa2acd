"""A checkpoint's own processors: for images the PIL backend, which needs no torchvision; the whole processor and the
video processor where torchvision is installed. Loaded when first asked for.
"""

from __future__ import annotations

import importlib.util
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from transformers.models.glm4v import image_processing_pil_glm4v as glm4v
from transformers.models.qwen2_vl import image_processing_pil_qwen2_vl as qwen2_vl

from reference_engine.errors import ConfigError
from reference_engine.hf.library import transformers
from reference_engine.hf.patch_cutter import PatchCutter, Resize
from reference_engine.multimodal.placeholders import Grid, Size, VideoSize
from reference_engine.request import Video


def _resize_qwen(processor: Any, height: int, width: int) -> tuple[int, int]:
    low, high = processor.size["shortest_edge"], processor.size["longest_edge"]
    cell = processor.patch_size * processor.merge_size
    return qwen2_vl.smart_resize(height, width, cell, min_pixels=low, max_pixels=high)


def _resize_glm(processor: Any, height: int, width: int) -> tuple[int, int]:
    frames, cell = processor.temporal_patch_size, processor.patch_size * processor.merge_size
    low, high = processor.size["shortest_edge"], processor.size["longest_edge"]
    return glm4v.smart_resize(frames, height, width, frames, cell, min_pixels=low, max_pixels=high)


_RESIZES: dict[str, Resize] = {"qwen2_vl": _resize_qwen, "glm4v": _resize_glm}


class PatchProcessor:
    """An image processor that makes one image one grid."""

    def __init__(self, processor: Any, resize: Resize = _resize_qwen) -> None:
        self.processor = processor
        self.merge_size: int = processor.merge_size
        self.cell: int = processor.patch_size * processor.merge_size
        self._resize = resize
        self.values: int = 3 * processor.temporal_patch_size * processor.patch_size**2
        cutter = PatchCutter(processor, resize)
        self._cut = cutter.cut if cutter.agrees() else None

    def grid(self, size: Size) -> Grid:
        width, height = size
        rows, columns = self._resize(self.processor, height, width)
        return 1, rows // self.processor.patch_size, columns // self.processor.patch_size

    def patches(self, image: Image.Image) -> dict[str, Tensor]:
        if self._cut is not None and image.mode == "RGB":
            return self._cut(image)
        return dict(self.processor(images=[image], return_tensors="pt"))


class VideoProcessor:
    """A processor that makes one video one grid of frames. All frames are used, as sent."""

    def __init__(self, processor: Any) -> None:
        self.processor = processor
        self.videos = processor.video_processor

    def grid(self, size: VideoSize) -> Grid:
        """By the processor's own resizing of a tensor that holds nothing."""
        own, patch = self.videos, self.videos.patch_size
        resized = own.resize(
            torch.empty(1, size.frames, 3, size.height, size.width, device="meta"),
            size=own._standardize_kwargs(size=own.size)["size"],
            resample=own.resample,
            factor=patch * own.merge_size,
            temporal_factor=own.temporal_patch_size,
            cap_pixels_per_frame=getattr(own, "cap_pixels_per_frame", None) or False,
        )
        rows, columns = resized.shape[-2:]
        return -(-size.frames // own.temporal_patch_size), rows // patch, columns // patch

    def patches(self, video: Video) -> dict[str, Tensor]:
        made = self.videos(
            videos=[list(video.frames)],
            video_metadata=[self._metadata(video.size)],
            do_sample_frames=False,
            return_tensors="pt",
        )
        return {name: made[name] for name in ("pixel_values_videos", "video_grid_thw")}

    def written(self, grid: Grid, size: VideoSize) -> str:
        made = {"video_grid_thw": torch.tensor([grid]), "video_metadata": [self._metadata(size)]}
        return str(self.processor.replace_video_token(made, video_idx=0))

    def seconds(self, size: VideoSize) -> float:
        if not size.fps:
            raise ValueError("no frame rate")
        return float(self.videos.temporal_patch_size / size.fps)

    def _metadata(self, size: VideoSize) -> Any:
        return transformers.video_utils.VideoMetadata(
            total_num_frames=size.frames, fps=size.fps, frames_indices=list(range(size.frames))
        )


class Processors:
    """What a family may ask for. Raises :class:`ConfigError` naming what is missing."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def image(self) -> Any:
        return load_image_processor(self.path)

    def patches(self, kind: str) -> PatchProcessor:
        """The image processor of a family whose images are grids."""
        return PatchProcessor(self.image, _RESIZES[kind])

    @property
    def has_videos(self) -> bool:
        """Whether video processors can be had here."""
        return importlib.util.find_spec("torchvision") is not None

    @cached_property
    def videos(self) -> VideoProcessor:
        return VideoProcessor(self.whole)

    @cached_property
    def whole(self) -> Any:
        try:
            return load_processor(self.path)
        except ImportError as error:
            missing = " ".join(str(error).split())[:300]
            raise ConfigError(
                f"model: the processor of {self.path.name} needs a package that is not installed, torchvision for most "
                f"families (pip install torchvision): {missing}"
            ) from error


def load_image_processor(path: Path) -> Any:
    """The PIL backend where the family has one."""
    return transformers.AutoImageProcessor.from_pretrained(path, local_files_only=True, backend="pil")


def load_processor(path: Path) -> Any:
    """``AutoProcessor`` as other engines load it, with the image backend that is used here. Needs torchvision."""
    processor = transformers.AutoProcessor.from_pretrained(path, local_files_only=True)
    if hasattr(processor, "image_processor"):
        processor.image_processor = load_image_processor(path)
    return processor
