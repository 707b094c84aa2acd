"""A checkpoint's own processors: for images the PIL backend, which needs no torchvision; the whole processor and the
video processor where torchvision is installed. Loaded when first asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor
from transformers.models.glm4v import image_processing_pil_glm4v as glm4v
from transformers.models.qwen2_vl import image_processing_pil_qwen2_vl as qwen2_vl

from reference_engine.errors import ConfigError
from reference_engine.hf.library import transformers
from reference_engine.multimodal.placeholders import Grid, Size

Resize = Callable[[Any, int, int], tuple[int, int]]
"""An image processor, height and width -> height and width of the image in whole patches."""


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

    def grid(self, size: Size) -> Grid:
        width, height = size
        rows, columns = self._resize(self.processor, height, width)
        return 1, rows // self.processor.patch_size, columns // self.processor.patch_size

    def patches(self, image: Image.Image) -> dict[str, Tensor]:
        return dict(self.processor(images=[image], return_tensors="pt"))


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
