"""A checkpoint's own processors: for images the PIL backend, which needs no torchvision; the whole processor and the
video processor where torchvision is installed. Loaded when first asked for.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

from reference_engine.errors import ConfigError
from reference_engine.hf.library import transformers
from reference_engine.multimodal.placeholders import Grid, Size


class PatchProcessor:
    """Qwen's image processor: one image to one grid."""

    def __init__(self, processor: Any) -> None:
        self.processor = processor
        self.merge_size: int = processor.merge_size
        self.cell: int = processor.patch_size * processor.merge_size

    def grid(self, size: Size) -> Grid:
        width, height = size
        low, high = self.processor.size["shortest_edge"], self.processor.size["longest_edge"]
        rows, columns = smart_resize(height, width, self.cell, min_pixels=low, max_pixels=high)
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

    @cached_property
    def patches(self) -> PatchProcessor:
        return PatchProcessor(self.image)

    @cached_property
    def whole(self) -> Any:
        try:
            return load_processor(self.path)
        except ImportError as error:
            raise ConfigError(
                f"model: the processor of {self.path.name} needs torchvision, which is not installed beside this torch "
                "(pip install torchvision)"
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
