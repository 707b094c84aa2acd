"""Qwen3-VL: Qwen2-VL's images, interleaved MRoPE (the model's own affair), deepstack rows for the decoder's first
layers, which travel beside the image's rows, and videos whose frames stand apart with their times written before them.
"""

from __future__ import annotations

from typing import Any

from reference_engine.multimodal.families.grid import GridFamily, grid_family
from reference_engine.multimodal.families.videos import videos_of


class Qwen3VL(GridFamily):
    @classmethod
    def of(cls, config: Any, processors: Any, codec: Any) -> Qwen3VL:
        videos = videos_of(config, processors, codec, apart=True, timed=True)
        return grid_family(cls, config, processors.patches("qwen2_vl"), codec, videos)
