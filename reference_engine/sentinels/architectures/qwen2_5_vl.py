"""Qwen2.5-VL at sentinel size: window attention, MRoPE in sections, digit and colour on the same rows.

The rotary base is 10, not 1e6: positions here are few, and with a large base the width axis of MRoPE would carry almost
no signal, so a fault in it would cost no accuracy.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from reference_engine.sentinels.architectures.base import HIDDEN, TEXT_SHAPE, Attribute, Trait
from reference_engine.sentinels.architectures.qwen_vision import IMAGES, MERGE, PATCH, QwenVision
from reference_engine.sentinels.tasks import CELL, COLOURS, GridImage


class Qwen25VL(QwenVision):
    name, checkpoint, title, card = "qwen2_5_vl", "sentinel-qwen2.5-vl", "Qwen2.5-VL", IMAGES
    model_class, processor_class = "Qwen2_5_VLForConditionalGeneration", "Qwen2_5_VLProcessor"
    video_processor_type = "Qwen2VLVideoProcessor"
    mean = (0.48145466, 0.4578275, 0.40821073)
    std = (0.26862954, 0.26130258, 0.27577711)
    traits: ClassVar[frozenset[Trait]] = frozenset({"mrope"})
    attributes = (Attribute("digit", 10), Attribute("colour", len(COLOURS)))
    tower_steps, language_steps = (4000,), (4500,)
    batches, told_weight = (20, 16, 14), 0.0

    def labels(self, image: GridImage) -> NDArray[np.int64]:
        return np.stack([image.digits.ravel(), image.colours.ravel()], 1)

    def hidden(
        self, model: Any, ids_BT: Tensor, rows_RKD: Tensor, positions_3BT: Tensor, mask: Tensor | None
    ) -> Tensor:
        embeds, _ = self.embed(model, ids_BT, rows_RKD[:, 0])
        out: Tensor = model.model.language_model(
            inputs_embeds=embeds,
            position_ids=positions_3BT,
            attention_mask=None if mask is None else {"full_attention": mask},
            use_cache=False,
        ).last_hidden_state
        return out

    def deepstack(self, out: Any) -> list[Tensor]:
        return []

    def config(self, token: dict[str, int]) -> Any:
        from transformers import Qwen2_5_VLConfig

        text = TEXT_SHAPE | {
            "eos_token_id": token["<|im_end|>"], "pad_token_id": token["<|endoftext|>"],
            "rope_parameters": {"rope_type": "default", "rope_theta": 10.0, "mrope_section": [4, 6, 6]},
        }  # fmt: skip
        vision: dict[str, Any] = {
            "depth": 4, "hidden_size": HIDDEN, "intermediate_size": 256, "num_heads": 4, "patch_size": PATCH,
            "spatial_merge_size": MERGE, "temporal_patch_size": 2, "out_hidden_size": HIDDEN, "initializer_range": 0.04,
            "window_size": 2 * CELL, "fullatt_block_indexes": [1, 3], "tokens_per_second": 2,
        }  # fmt: skip
        return Qwen2_5_VLConfig(
            text_config=text,
            vision_config=vision,
            tie_word_embeddings=False,
            image_token_id=token["<|image_pad|>"],
            video_token_id=token["<|video_pad|>"],
            vision_start_token_id=token["<|vision_start|>"],
            vision_end_token_id=token["<|vision_end|>"],
        )
