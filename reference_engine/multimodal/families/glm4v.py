"""GLM-4V: Qwen2-VL's scheme with its own way to resize. A video's frames stand apart, each between image markers with
its time after it, and are written with the image's id.
"""

from __future__ import annotations

from typing import Any

from reference_engine.multimodal.families.grid import GridFamily, grid_family
from reference_engine.multimodal.families.videos import videos_of


class GLM4V(GridFamily):
    @classmethod
    def of(cls, config: Any, processors: Any, codec: Any) -> GLM4V:
        videos = videos_of(config, processors, codec, feature_id=config.image_token_id, apart=True, timed=True)
        return grid_family(cls, config, processors.patches("glm4v"), codec, videos)
