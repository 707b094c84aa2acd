"""The sentinels' shape: a real Qwen2.5-VL (transformers' class, unchanged) of two million parameters.

Head width 32 is one that every engine's kernels list. The rotary base is 10, not 1e6: positions here are few, and
with a large base the width axis of MRoPE would carry almost no signal, so a fault in it would cost no accuracy.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reference_engine.sentinels.tasks import CELL
from reference_engine.sentinels.tokenizer import CHAT_TEMPLATE, VOCABULARY, save_tokenizer

if TYPE_CHECKING:
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration, Qwen2Tokenizer

HIDDEN = 128
PATCH, MERGE = 14, 2
IMAGE_MEAN = [0.48145466, 0.4578275, 0.40821073]
IMAGE_STD = [0.26862954, 0.26130258, 0.27577711]
MIN_PIXELS, MAX_PIXELS = CELL * CELL, 64 * CELL * CELL


def build_config(tokenizer: Qwen2Tokenizer) -> Qwen2_5_VLConfig:
    from transformers import Qwen2_5_VLConfig

    def token(name: str) -> int:
        return int(tokenizer.convert_tokens_to_ids(name))

    text: dict[str, Any] = {
        "vocab_size": VOCABULARY, "hidden_size": HIDDEN, "intermediate_size": 256, "num_hidden_layers": 5,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 4096, "rms_norm_eps": 1e-6,
        "initializer_range": 0.04, "bos_token_id": None, "eos_token_id": token("<|im_end|>"),
        "pad_token_id": token("<|endoftext|>"), "tie_word_embeddings": False,
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
        image_token_id=token("<|image_pad|>"),
        video_token_id=token("<|video_pad|>"),
        vision_start_token_id=token("<|vision_start|>"),
        vision_end_token_id=token("<|vision_end|>"),
    )


def build_model(tokenizer: Qwen2Tokenizer) -> Qwen2_5_VLForConditionalGeneration:
    """Random weights from torch's current seed."""
    from transformers import Qwen2_5_VLForConditionalGeneration

    model = Qwen2_5_VLForConditionalGeneration(build_config(tokenizer))
    generation = model.generation_config
    generation.eos_token_id = [tokenizer.convert_tokens_to_ids(t) for t in ("<|im_end|>", "<|endoftext|>")]
    generation.pad_token_id = tokenizer.convert_tokens_to_ids("<|endoftext|>")
    generation.do_sample = False
    return model.eval()


def save_checkpoint(model: Qwen2_5_VLForConditionalGeneration, directory: Path) -> None:
    """Weights, tokenizer and processor in Hugging Face format, with the file names that older loaders look for."""
    directory.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(directory)
    save_tokenizer(directory)
    size = {"shortest_edge": MIN_PIXELS, "longest_edge": MAX_PIXELS}
    image_processor = {
        "image_processor_type": "Qwen2VLImageProcessor", "processor_class": "Qwen2_5_VLProcessor",
        "min_pixels": MIN_PIXELS, "max_pixels": MAX_PIXELS, "size": size, "patch_size": PATCH, "temporal_patch_size": 2,
        "merge_size": MERGE, "do_resize": True, "do_rescale": True, "do_normalize": True, "do_convert_rgb": True,
        "resample": 3, "rescale_factor": 1 / 255, "image_mean": IMAGE_MEAN, "image_std": IMAGE_STD,
    }  # fmt: skip
    video_processor = image_processor | {"video_processor_type": "Qwen2VLVideoProcessor"}
    del video_processor["image_processor_type"]
    files: dict[str, Any] = {
        "preprocessor_config.json": image_processor,
        "video_preprocessor_config.json": video_processor,
        "chat_template.json": {"chat_template": CHAT_TEMPLATE},
    }
    for name, content in files.items():
        (directory / name).write_text(json.dumps(content, indent=2) + "\n")
