"""Qwen2-VL and Qwen2.5-VL: dynamic resolution, MRoPE; Qwen2.5-VL places a video's frames by time."""

from __future__ import annotations

from typing import Any

from reference_engine.multimodal.families.grid import GridFamily, grid_family
from reference_engine.multimodal.families.videos import videos_of


class Qwen2VL(GridFamily):
    @classmethod
    def of(cls, config: Any, processors: Any, codec: Any) -> Qwen2VL:
        per_second = getattr(config.vision_config, "tokens_per_second", None)
        timed = per_second is not None
        videos = videos_of(config, processors, codec, timed=timed, positions_per_second=per_second)
        return grid_family(cls, config, processors.patches("qwen2_vl"), codec, videos)
