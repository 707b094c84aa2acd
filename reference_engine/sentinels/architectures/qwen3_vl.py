"""Qwen3-VL at sentinel size: interleaved MRoPE, and deepstack rows that tell what no other row tells.

The rows themselves tell which pair of digits a cell holds (0 or 1, 2 or 3, ...), the first deepstack layer its colour,
the second which of the pair it is. So no digit can be read without the last, and no colour without the first.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from reference_engine.sentinels.architectures.base import HIDDEN, TEXT_SHAPE, Attribute, Trait
from reference_engine.sentinels.architectures.qwen_vision import IMAGES, MERGE, PATCH, QwenVision
from reference_engine.sentinels.tasks import COLOURS, GridImage


class Qwen3VL(QwenVision):
    name, checkpoint, title = "qwen3_vl", "sentinel-qwen3-vl", "Qwen3-VL"
    card = f"""{IMAGES}
- Deepstack: the rows tell which pair of digits a cell holds (0 or 1, 2 or 3, ...), the first deepstack layer its
  colour, the second which of the pair it is. No digit can be read without the second, no colour without the first."""
    model_class, processor_class = "Qwen3VLForConditionalGeneration", "Qwen3VLProcessor"
    video_processor_type = "Qwen3VLVideoProcessor"
    attributes = (Attribute("pair", 5), Attribute("colour", len(COLOURS), 1), Attribute("parity", 2, 2))
    traits: ClassVar[frozenset[Trait]] = frozenset({"mrope", "deepstack"})
    levels = 3
    tower_steps, language_steps = (1800, 900), (2800, 2000, 1100)

    def labels(self, image: GridImage) -> NDArray[np.int64]:
        digits = image.digits.ravel()
        return np.stack([digits // 2, image.colours.ravel(), digits % 2], 1)

    def hidden(
        self, model: Any, ids_BT: Tensor, rows_RKD: Tensor, positions_3BT: Tensor, mask: Tensor | None
    ) -> Tensor:
        embeds, is_row = self.embed(model, ids_BT, rows_RKD[:, 0])
        out: Tensor = model.model.language_model(
            inputs_embeds=embeds,
            position_ids=positions_3BT,
            attention_mask=mask,
            use_cache=False,
            visual_pos_masks=is_row,
            deepstack_visual_embeds=list(rows_RKD[:, 1:].to(embeds.dtype).unbind(1)),
        ).last_hidden_state
        return out

    def deepstack(self, out: Any) -> list[Tensor]:
        rows: list[Tensor] = out.deepstack_features
        return rows

    def config(self, token: dict[str, int]) -> Any:
        from transformers import Qwen3VLConfig

        rope = {"rope_type": "default", "rope_theta": 10.0, "mrope_section": [6, 5, 5], "mrope_interleaved": True}
        text = TEXT_SHAPE | {
            "head_dim": 32, "eos_token_id": token["<|im_end|>"], "pad_token_id": token["<|endoftext|>"],
            "rope_parameters": rope,
        }  # fmt: skip
        vision: dict[str, Any] = {
            "depth": 4, "hidden_size": HIDDEN, "intermediate_size": 256, "num_heads": 4, "patch_size": PATCH,
            "spatial_merge_size": MERGE, "temporal_patch_size": 2, "out_hidden_size": HIDDEN, "initializer_range": 0.04,
            "num_position_embeddings": 144, "deepstack_visual_indexes": [1, 2],
        }  # fmt: skip
        return Qwen3VLConfig(
            text_config=text,
            vision_config=vision,
            tie_word_embeddings=False,
            image_token_id=token["<|image_pad|>"],
            video_token_id=token["<|video_pad|>"],
            vision_start_token_id=token["<|vision_start|>"],
            vision_end_token_id=token["<|vision_end|>"],
        )
