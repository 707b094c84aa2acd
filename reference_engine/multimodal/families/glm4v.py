"""GLM-4V: Qwen2-VL's scheme with its own way to resize."""

from __future__ import annotations

from typing import Any

from reference_engine.multimodal.families.grid import GridFamily, grid_family


class GLM4V(GridFamily):
    @classmethod
    def of(cls, config: Any, processors: Any, codec: Any) -> GLM4V:
        return grid_family(cls, config, processors.patches("glm4v"), codec)
