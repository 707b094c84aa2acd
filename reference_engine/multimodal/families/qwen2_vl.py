"""Qwen2-VL and Qwen2.5-VL: dynamic resolution, MRoPE."""

from __future__ import annotations

from typing import Any

from reference_engine.multimodal.families.grid import GridFamily
from reference_engine.multimodal.family import Traits


class Qwen2VL(GridFamily):
    @classmethod
    def of(cls, config: Any, processors: Any, codec: Any) -> Qwen2VL:
        return cls(
            patcher=processors.patches,
            placeholders={"image": config.image_token_id},
            written={"image": codec.name(config.image_token_id)},
            traits=Traits(
                mrope=True,
                merge_size=processors.patches.merge_size,
                segments=True,
                refused={"video": config.video_token_id},
            ),
            name=config.model_type,
        )
