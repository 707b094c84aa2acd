"""MiniCPM-V 4.6: an image is itself, shrunk, and slices of a larger version, each a span between tags of its own and as
long as its shape demands. The whole stands behind the image's number within the prompt.

Items of several spans, cross-request batches that were split by one of them, and the crash and lost accuracy that came
of it are sglang#25910 and #26442. Its decoder is Qwen3.5's: three of four layers carry a state.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from reference_engine.multimodal.families.written import WrittenFamily
from reference_engine.multimodal.family import Tensors
from reference_engine.multimodal.placeholders import Size


class MiniCPMV(WrittenFamily):
    @classmethod
    def of(cls, config: Any, processors: Any, codec: Any) -> WrittenFamily:
        made = super().of(config, processors, codec)
        return replace(made, traits=replace(made.traits, recurrent=True))

    def reported(self, size: Size, index: int, count: int) -> Mapping[str, Any]:
        """The image processor's own arithmetic: the whole image's patches, then those of each slice of its grid."""
        width, height = size
        images = self.processor.image_processor
        resolution, patch, mode = images.scale_resolution, images.patch_size, images.downsample_mode
        grid = images.get_sliced_grid((height, width), images.max_slice_nums, resolution) if images.slice_mode else None
        whole = images.find_best_resize((height, width), resolution, patch, mode, allow_upscale=grid is None)
        sizes = [whole]
        if grid is not None:
            rows, columns = grid
            tall, wide = images.get_refine_size((height, width), grid, resolution, patch, mode, allow_upscale=True)
            sizes += [(tall // rows, wide // columns)] * (rows * columns)
        patches = torch.tensor([(h // patch, w // patch) for h, w in sizes])
        return {"grids": [grid or [0, 0]], "num_patches_per_image": [len(sizes)], "target_sizes": patches}

    def write(self, made: Mapping[str, Any], index: int) -> str:
        divisor = 4 if self.processor.image_processor.downsample_mode == "4x" else 16
        text: str = self.processor.replace_image_token(made, image_idx=0, image_token_divisor=divisor)
        if not self.processor.default_use_image_id:
            return text
        return f"{self.processor.image_id_start_token}{index}{self.processor.image_id_end_token}{text}"

    def kept(self, made: Mapping[str, Any]) -> Tensors:
        return {name: made[name] for name in ("pixel_values", "target_sizes")}

    def collate(self, items: Sequence[Tensors]) -> Tensors:
        """Patches of all slices stand side by side, on the last axis."""
        return {
            "pixel_values": torch.cat([item["pixel_values"] for item in items], dim=-1),
            "target_sizes": torch.cat([item["target_sizes"] for item in items]),
        }

    def span_rows(self, rows: Any, deepstack: Sequence[Any], items: Sequence[Tensors]) -> list[list[Tensor]]:
        queue = iter(rows)
        return [[next(queue) for _ in item["target_sizes"]] for item in items]
