"""Qwen2-VL and Qwen2.5-VL: dynamic resolution, MRoPE."""

from __future__ import annotations

from typing import Any

from reference_engine.multimodal.families.grid import GridFamily, grid_family


class Qwen2VL(GridFamily):
    @classmethod
    def of(cls, config: Any, processors: Any, codec: Any) -> Qwen2VL:
        return grid_family(cls, config, processors.patches("qwen2_vl"), codec)
