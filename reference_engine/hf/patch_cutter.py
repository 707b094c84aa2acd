"""One RGB image to patches, to the bits of transformers' processors of Qwen's kind, with their arithmetic looked up.

A byte has 256 values, so rescaling and normalizing is a table of 256 numbers a channel, which the processor itself
makes; patches are cut while they are bytes. Whether both give the same is tried on noise at load, not taken on trust.

Shapes: P patches of S x S pixels, C = 3 channels, F frames a patch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

Resize = Callable[[Any, int, int], tuple[int, int]]
"""An image processor, height and width -> height and width of the image in whole patches."""
TRIAL_SIZES = ((61, 140), (224, 168))


class PatchCutter:
    def __init__(self, processor: Any, resize: Resize) -> None:
        self._processor, self._resize = processor, resize
        ramp = np.broadcast_to(np.arange(256, dtype=np.uint8), (3, 1, 256))
        if processor.do_rescale:
            ramp = processor.rescale(ramp, processor.rescale_factor)
        if processor.do_normalize:
            ramp = processor.normalize(ramp, processor.image_mean, processor.image_std)
        self._values_CB = ramp[:, 0].astype(np.float32)

    def cut(self, image: Image.Image) -> dict[str, Tensor]:
        """``pixel_values`` float32 [P, C x F x S x S] and ``image_grid_thw`` [1, 3], in the processor's order."""
        own = self._processor
        size, merge = own.patch_size, own.merge_size
        height, width = self._resize(own, image.height, image.width)
        if image.size != (width, height):
            image = image.resize((width, height), resample=own.resample)
        rows, columns = height // size, width // size
        pixels = np.asarray(image).reshape(rows // merge, merge, size, columns // merge, merge, size, 3)
        bytes_PCSS = pixels.transpose(0, 3, 1, 4, 6, 2, 5).reshape(rows * columns, 3, 1, size * size)
        made = np.empty((rows * columns, 3, own.temporal_patch_size, size * size), dtype=np.float32)
        for channel, values_B in enumerate(self._values_CB):
            made[:, channel] = values_B[bytes_PCSS[:, channel]]
        patches = torch.from_numpy(made.reshape(rows * columns, -1))
        return {"pixel_values": patches, "image_grid_thw": torch.tensor([[1, rows, columns]])}

    def agrees(self) -> bool:
        """Whether the processor makes the same of noise, once resized and once as it is."""
        generator = np.random.default_rng(0)
        for width, height in TRIAL_SIZES:
            image = Image.fromarray(generator.integers(0, 256, (height, width, 3), dtype=np.uint8))
            mine, own = self.cut(image), dict(self._processor(images=[image], return_tensors="pt"))
            same = mine.keys() == own.keys() and all(mine[name].dtype == own[name].dtype for name in mine)
            if not same or not all(torch.equal(mine[name], own[name]) for name in mine):
                return False
        return True
