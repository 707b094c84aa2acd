"""What Qwen2.5-VL and Qwen3-VL share: one merged row a cell, patches in merge blocks, MRoPE's three axes."""

from __future__ import annotations

import itertools
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from reference_engine.sentinels.architectures.base import Architecture
from reference_engine.sentinels.tasks import CELL, CELL_KINDS, GridImage, Limits

PATCH, MERGE = 14, 2
MIN_PIXELS, MAX_PIXELS = CELL * CELL, 64 * CELL * CELL


def mrope(length: int, starts: Sequence[int], shapes: Sequence[tuple[int, int]]) -> NDArray[np.int64]:
    """Qwen2-VL's positions [3, length] (arXiv 2409.12191, section 2.1): text counts on, an image spans rows and
    columns."""
    positions, at, cursor = np.zeros((3, length), np.int64), 0, 0
    for start, shape in zip(starts, shapes, strict=True):
        positions[:, cursor:start] = at + np.arange(start - cursor)
        at += start - cursor
        rows, columns = np.indices(shape).reshape(2, -1)
        cursor = start + len(rows)
        positions[:, start:cursor] = at + np.stack([np.zeros_like(rows), rows, columns])
        at += max(shape)
    positions[:, cursor:] = at + np.arange(length - cursor)
    return positions


def grid_thw(shapes: Sequence[tuple[int, int]]) -> Tensor:
    """Patch grids, int64 [images, 3], of images of ``shapes`` cells."""
    return torch.tensor([[1, MERGE * rows, MERGE * columns] for rows, columns in shapes])


def attend_by_length(
    module: nn.Module, q: Tensor, k: Tensor, v: Tensor, attention_mask: Tensor | None, **kw: Any
) -> Any:
    """Attention within segments, all segments of one length in one call. q, k, v [1, heads, P, d]; out [1, P, heads,
    d]."""
    starts = kw["cu_seq_lens_q"].tolist()
    by_length: dict[int, list[int]] = {}
    for start, stop in itertools.pairwise(starts):
        by_length.setdefault(stop - start, []).append(start)
    groups = [torch.tensor(at)[:, None] + torch.arange(length) for length, at in by_length.items()]
    parts = []
    for at in groups:
        q_at, k_at, v_at = (x[0].transpose(0, 1)[at].transpose(1, 2) for x in (q, k, v))
        out = F.scaled_dot_product_attention(q_at, k_at, v_at, scale=kw["scaling"])
        parts.append(out.transpose(1, 2).flatten(0, 1))
    order = torch.argsort(torch.cat([at.flatten() for at in groups]))
    return torch.cat(parts)[order][None], None


class LinearPatchEmbed(nn.Module):
    """The patch convolution as the linear map it is; the CPU library would compile the convolution anew for every
    length."""

    def __init__(self, convolution: nn.Conv3d) -> None:
        super().__init__()
        self.proj = convolution

    def forward(self, x_PC: Tensor) -> Tensor:
        return F.linear(x_PC, self.proj.weight.flatten(1), self.proj.bias)


IMAGES = """\
- Images: 1 to 4 a prompt, grids of 1x1 to 5x5 cells of 28x28 pixels (one merged token a cell), 36 cells a prompt at
  most. In three of ten, some digits span 2x2 cells."""


class QwenVision(Architecture):
    """An image of h x w cells is h * w placeholders between two vision tokens."""

    placeholder = "<|image_pad|>"
    markup = "<|vision_start|><|image_pad|><|vision_end|>"
    video_markup = "<|vision_start|><|video_pad|><|vision_end|>"
    specials = (
        "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>",
        "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>",
    )  # fmt: skip
    kinds = CELL_KINDS
    curriculum = (
        Limits(max_images=2, max_side=3, max_cells=12),
        Limits(max_images=3, max_side=4, max_cells=26),
        Limits(),
    )
    tower_prefixes = ("model.visual.",)
    processor_class: ClassVar[str]
    video_processor_type: ClassVar[str]

    def image_text(self, shape: tuple[int, int]) -> str:
        return f"<|vision_start|>{self.placeholder * (shape[0] * shape[1])}<|vision_end|>"

    def cells(self, shape: tuple[int, int]) -> NDArray[np.int64]:
        return np.indices(shape).reshape(2, -1).T

    def row_read(self, shape: tuple[int, int], cell: tuple[int, int], kind: str) -> int:
        return cell[0] * shape[1] + cell[1]

    def positions(self, rows_T: NDArray[np.bool_], shapes: Sequence[tuple[int, int]]) -> NDArray[np.int64]:
        firsts = np.cumsum([0, *(rows * columns for rows, columns in shapes)])[:-1]
        return mrope(len(rows_T), np.flatnonzero(rows_T)[firsts].tolist(), shapes)

    def text_model(self, model: Any) -> nn.Module:
        decoder: nn.Module = model.model.language_model
        return decoder

    def speed_up(self, model: Any) -> None:
        from transformers import AttentionInterface

        AttentionInterface.register("sentinel_flash_by_length", attend_by_length)
        model.set_attn_implementation({"vision_config": "sentinel_flash_by_length", "text_config": "sdpa"})
        model.model.visual.patch_embed = LinearPatchEmbed(model.model.visual.patch_embed.proj)

    def patches(self, image: GridImage) -> NDArray[np.float32]:
        """What transformers' image processor makes of the image, float32 [4 * cells, 3 * 2 * 14 * 14]; no resize is
        needed."""
        mean, std = (np.array(values, np.float32) for values in (self.mean, self.std))
        pixels = (image.pixels.astype(np.float32) / np.float32(255.0) - mean) / std
        rows, columns = image.shape
        blocks = pixels.reshape(rows, 2, PATCH, columns, 2, PATCH, 3).transpose(0, 3, 1, 4, 6, 2, 5)
        frames = np.broadcast_to(blocks[:, :, :, :, :, None], (rows, columns, 2, 2, 3, 2, PATCH, PATCH))
        return frames.reshape(4 * rows * columns, 3 * 2 * PATCH * PATCH)

    def encode(
        self, model: Any, images: Sequence[GridImage], shapes: Sequence[tuple[int, int]] | None = None
    ) -> Tensor:
        pixels = torch.from_numpy(np.concatenate([self.patches(image) for image in images])).to(model.dtype)
        out = model.model.visual(pixels, grid_thw(shapes or [image.shape for image in images]))
        return torch.stack([out.pooler_output, *self.deepstack(out)], 1)

    @abstractmethod
    def deepstack(self, out: Any) -> list[Tensor]:
        """The deepstack layers' rows, float32 [R, D] each, of the tower's output."""

    def processor_files(self) -> dict[str, dict[str, Any]]:
        size = {"shortest_edge": MIN_PIXELS, "longest_edge": MAX_PIXELS}
        image_processor = {
            "image_processor_type": "Qwen2VLImageProcessor", "processor_class": self.processor_class,
            "min_pixels": MIN_PIXELS, "max_pixels": MAX_PIXELS, "size": size, "patch_size": PATCH,
            "temporal_patch_size": 2, "merge_size": MERGE, "do_resize": True, "do_rescale": True, "do_normalize": True,
            "do_convert_rgb": True, "resample": 3, "rescale_factor": 1 / 255, "image_mean": list(self.mean),
            "image_std": list(self.std),
        }  # fmt: skip
        video_processor = image_processor | {"video_processor_type": self.video_processor_type}
        del video_processor["image_processor_type"]
        return {"preprocessor_config.json": image_processor, "video_preprocessor_config.json": video_processor}
