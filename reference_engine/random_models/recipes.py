"""What each family's tiny checkpoint is made of. Sizes are the smallest at which every part of the model still does
something: several heads that share keys, two or more layers on every side, all axes of MRoPE.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from reference_engine.hf import transformers as hf

TEXT: dict[str, Any] = {
    "hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2,
    "intermediate_size": 96, "max_position_embeddings": 4096, "bos_token_id": None, "tie_word_embeddings": False,
}  # fmt: skip
MROPE: dict[str, Any] = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 3, 3]}
CHAT = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for part in message['content'] %}"
    "{% if part['type'] in ('image', 'video') %}{{ MEDIA[part['type']] }}{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@dataclass(frozen=True)
class Recipe:
    config: Callable[[Any], Any]
    """From a tokenizer to transformers' configuration."""
    processor: Callable[[Any], Any] | None
    """From a tokenizer to the whole processor; none for text models."""
    specials: tuple[str, ...]
    named: Mapping[str, str] = field(default_factory=dict)


def text(tokenizer: Any, **more: Any) -> dict[str, Any]:
    ends = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    return {**TEXT, **ends, "vocab_size": len(tokenizer), **more}


def chat_template(image: str, video: str = "") -> str:
    return "{%- set MEDIA = " + repr({"image": image, "video": video}) + " -%}" + CHAT


# -- Qwen

QWEN = (
    "<|im_start|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>",
)  # fmt: skip
QWEN_CHAT = chat_template("<|vision_start|><|image_pad|><|vision_end|>", "<|vision_start|><|video_pad|><|vision_end|>")


def qwen_ids(tokenizer: Any) -> dict[str, int]:
    names = {
        "image_token_id": "<|image_pad|>", "video_token_id": "<|video_pad|>",
        "vision_start_token_id": "<|vision_start|>", "vision_end_token_id": "<|vision_end|>",
    }  # fmt: skip
    return {name: tokenizer.convert_tokens_to_ids(token) for name, token in names.items()}


def qwen2_vl_config(tokenizer: Any) -> Any:
    vision = {"depth": 2, "embed_dim": 32, "hidden_size": 64, "num_heads": 2, "mlp_ratio": 2, "patch_size": 14}
    return hf.Qwen2VLConfig(
        text_config=text(tokenizer, rope_parameters=MROPE), vision_config=vision, **qwen_ids(tokenizer)
    )


def qwen2_5_vl_config(tokenizer: Any) -> Any:
    vision = {
        "depth": 3, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "out_hidden_size": 64,
        "patch_size": 14, "window_size": 56, "fullatt_block_indexes": [1], "tokens_per_second": 2,
    }  # fmt: skip
    return hf.Qwen2_5_VLConfig(
        text_config=text(tokenizer, rope_parameters=MROPE), vision_config=vision, **qwen_ids(tokenizer)
    )


def qwen3_vl_config(tokenizer: Any) -> Any:
    vision = {
        "depth": 4, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2, "patch_size": 16,
        "out_hidden_size": 64, "num_position_embeddings": 64, "deepstack_visual_indexes": [0, 2],
    }  # fmt: skip
    rope = {**MROPE, "mrope_interleaved": True}
    return hf.Qwen3VLConfig(
        text_config=text(tokenizer, head_dim=16, rope_parameters=rope), vision_config=vision, **qwen_ids(tokenizer)
    )


def qwen_processor(kind: str, video_kind: str, patch: int) -> Callable[[Any], Any]:
    def make(tokenizer: Any) -> Any:
        sizes = {"patch_size": patch, "merge_size": 2, "temporal_patch_size": 2}
        cell = (2 * patch) ** 2
        pixels = {"shortest_edge": cell, "longest_edge": 48 * cell}
        return getattr(hf, kind)(
            image_processor=hf.Qwen2VLImageProcessorPil(size=pixels, **sizes),
            tokenizer=tokenizer,
            video_processor=getattr(hf, video_kind)(
                size={"shortest_edge": cell, "longest_edge": 64 * cell}, cap_pixels_per_frame=False, **sizes
            ),
            chat_template=QWEN_CHAT,
        )

    return make


# -- GLM

GLM = (
    "<|im_start|>", "<|begin_of_image|>", "<|image|>", "<|end_of_image|>", "<|begin_of_video|>", "<|video|>",
    "<|end_of_video|>",
)  # fmt: skip


def glm4v_config(tokenizer: Any) -> Any:
    names = {
        "image_token_id": "<|image|>", "video_token_id": "<|video|>", "image_start_token_id": "<|begin_of_image|>",
        "image_end_token_id": "<|end_of_image|>", "video_start_token_id": "<|begin_of_video|>",
        "video_end_token_id": "<|end_of_video|>",
    }  # fmt: skip
    vision = {
        "depth": 2, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2, "image_size": 112, "patch_size": 14,
        "out_hidden_size": 64,
    }  # fmt: skip
    rope = {**MROPE, "partial_rotary_factor": 1.0}
    ids = {name: tokenizer.convert_tokens_to_ids(token) for name, token in names.items()}
    return hf.Glm4vConfig(text_config=text(tokenizer, rope_parameters=rope), vision_config=vision, **ids)


def glm4v_processor(tokenizer: Any) -> Any:
    cell = 2 * 28 * 28  # pixels of both frames that an image counts for
    sizes = {"patch_size": 14, "merge_size": 2, "temporal_patch_size": 2}
    return hf.Glm4vProcessor(
        image_processor=hf.Glm4vImageProcessorPil(size={"shortest_edge": cell, "longest_edge": 48 * cell}, **sizes),
        tokenizer=tokenizer,
        video_processor=hf.Glm4vVideoProcessor(size={"shortest_edge": cell, "longest_edge": 64 * cell}, **sizes),
        chat_template=chat_template(
            "<|begin_of_image|><|image|><|end_of_image|>", "<|begin_of_video|><|video|><|end_of_video|>"
        ),
    )


# -- tiles

IDEFICS = (
    "<|im_start|>", "<fake_token_around_image>", "<image>", "<end_of_utterance>", "<global-img>",
    *(f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7)),
)  # fmt: skip
INTERNVL = {
    "start_image_token": "<img>", "end_image_token": "</img>", "context_image_token": "<IMG_CONTEXT>",
    "video_token": "<video>",
}  # fmt: skip
TOWER: dict[str, Any] = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 56,
    "patch_size": 14,
}  # fmt: skip
PLAIN_ROPE: dict[str, Any] = {"rope_type": "default", "rope_theta": 1e4}


def idefics3_config(tokenizer: Any) -> Any:
    return hf.Idefics3Config(
        text_config={"model_type": "llama", **text(tokenizer, rope_parameters=PLAIN_ROPE)},
        vision_config=TOWER,
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        pad_token_id=tokenizer.pad_token_id,
        scale_factor=2,
    )


def idefics3_processor(tokenizer: Any) -> Any:
    images = hf.Idefics3ImageProcessorPil(size={"longest_edge": 168}, max_image_size={"longest_edge": 56})
    return hf.Idefics3Processor(images, tokenizer, image_seq_len=4, chat_template=chat_template("<image>"))


def internvl_config(tokenizer: Any) -> Any:
    return hf.InternVLConfig(
        text_config={"model_type": "qwen2", **text(tokenizer, rope_parameters=PLAIN_ROPE)},
        vision_config={**TOWER, "image_size": [56, 56], "patch_size": [14, 14]},
        image_token_id=tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"),
        image_seq_length=4,
        tie_word_embeddings=False,
    )


def internvl_processor(tokenizer: Any) -> Any:
    return hf.InternVLProcessor(
        image_processor=hf.GotOcr2ImageProcessorPil(
            size={"height": 56, "width": 56}, crop_to_patches=True, min_patches=1, max_patches=6
        ),
        tokenizer=tokenizer,
        video_processor=hf.InternVLVideoProcessor(size={"height": 56, "width": 56}),
        image_seq_length=4,
        chat_template=chat_template("<IMG_CONTEXT>", "<video>"),
    )


PINPOINTS = [[56, 56], [56, 112], [112, 56], [112, 112], [56, 168], [168, 56]]


def llava_onevision_config(tokenizer: Any) -> Any:
    return hf.LlavaOnevisionConfig(
        text_config={"model_type": "qwen2", **text(tokenizer, rope_parameters=PLAIN_ROPE)},
        vision_config={"model_type": "siglip_vision_model", "vision_use_head": False, **TOWER},
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        video_token_index=tokenizer.convert_tokens_to_ids("<video>"),
        image_grid_pinpoints=PINPOINTS,
        vision_aspect_ratio="anyres_max_2",
    )


def llava_onevision_processor(tokenizer: Any) -> Any:
    size = {"height": 56, "width": 56}
    return hf.LlavaOnevisionProcessor(
        image_processor=hf.LlavaOnevisionImageProcessorPil(size=size, image_grid_pinpoints=PINPOINTS),
        tokenizer=tokenizer,
        video_processor=hf.LlavaOnevisionVideoProcessor(size=size),
        num_image_tokens=16,
        vision_feature_select_strategy="full",
        vision_aspect_ratio="anyres_max_2",
        chat_template=chat_template("<image>", "<video>"),
    )


def llava_config(tokenizer: Any) -> Any:
    return hf.LlavaConfig(
        text_config={"model_type": "llama", **text(tokenizer, rope_parameters=PLAIN_ROPE)},
        vision_config={"model_type": "clip_vision_model", "projection_dim": 32, **TOWER, "num_hidden_layers": 3},
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
    )


def llava_processor(tokenizer: Any) -> Any:
    images = hf.CLIPImageProcessorPil(size={"shortest_edge": 56}, crop_size={"height": 56, "width": 56})
    return hf.LlavaProcessor(
        images, tokenizer, patch_size=14, vision_feature_select_strategy="default", num_additional_image_tokens=1,
        chat_template=chat_template("<image>"),
    )  # fmt: skip


def smolvlm_config(tokenizer: Any) -> Any:
    return hf.SmolVLMConfig(
        text_config={"model_type": "llama", **text(tokenizer, rope_parameters=PLAIN_ROPE)},
        vision_config=TOWER,
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        pad_token_id=tokenizer.pad_token_id,
        scale_factor=2,
    )


def smolvlm_processor(tokenizer: Any) -> Any:
    images = hf.SmolVLMImageProcessorPil(size={"longest_edge": 168}, max_image_size={"longest_edge": 56})
    videos = hf.SmolVLMVideoProcessor(size={"longest_edge": 56}, max_image_size={"longest_edge": 56})
    return hf.SmolVLMProcessor(images, tokenizer, videos, image_seq_len=4, chat_template=chat_template("<image>"))


# -- text alone


def text_config(kind: str) -> Callable[[Any], Any]:
    def make(tokenizer: Any) -> Any:
        return getattr(hf, kind)(**text(tokenizer, rope_parameters=PLAIN_ROPE, head_dim=16))

    return make


# -- Gemma


def gemma2_config(tokenizer: Any) -> Any:
    """Caps low enough to matter."""
    caps = {"attn_logit_softcapping": 1.5, "final_logit_softcapping": 6.0}
    decoder = text(tokenizer, head_dim=16, num_hidden_layers=4, sliding_window=12, query_pre_attn_scalar=16, **caps)
    return hf.Gemma2Config(**decoder)


GEMMA = {"boi_token": "<start_of_image>", "eoi_token": "<end_of_image>", "image_token": "<image_soft_token>"}
GEMMA_SIDE, GEMMA_PATCH = 56, 14


def gemma3_config(tokenizer: Any) -> Any:
    vision = {
        "model_type": "siglip_vision_model", "hidden_size": 32, "intermediate_size": 48, "patch_size": GEMMA_PATCH,
        "image_size": GEMMA_SIDE, "num_hidden_layers": 2, "num_attention_heads": 2, "vision_use_head": False,
    }  # fmt: skip
    kinds = ["sliding_attention", "full_attention", "sliding_attention", "full_attention"]
    decoder = text(
        tokenizer, head_dim=16, num_hidden_layers=4, layer_types=kinds, sliding_window=12, query_pre_attn_scalar=16
    )
    names = ("boi_token", "eoi_token", "image_token")
    ids = {f"{name}_index": tokenizer.convert_tokens_to_ids(GEMMA[name]) for name in names}
    return hf.Gemma3Config(
        text_config=decoder, vision_config=vision, mm_tokens_per_image=4, tie_word_embeddings=False, **ids
    )


def gemma3_processor(tokenizer: Any) -> Any:
    images = hf.Gemma3ImageProcessorPil(size={"height": GEMMA_SIDE, "width": GEMMA_SIDE})
    return hf.Gemma3Processor(images, tokenizer, chat_template=chat_template("<start_of_image>"), image_seq_length=4)


# -- Kimi

KIMI = (
    "<|im_start|>",
    "<|media_begin|>",
    "<|media_content|>",
    "<|media_pad|>",
    "<|media_end|>",
    "<|kimi_k25_video_placeholder|>",
)
KIMI_IMAGE = "<|media_begin|>image<|media_content|><|media_pad|><|media_end|>"


def kimi_config(tokenizer: Any) -> Any:
    """Latent attention whose keys (24) are wider than its values (12), and four experts of which two are asked."""
    decoder = text(
        tokenizer, model_type="deepseek_v3", num_key_value_heads=4, q_lora_rank=24, kv_lora_rank=32, qk_rope_head_dim=8,
        qk_nope_head_dim=16, v_head_dim=12, n_routed_experts=4, num_experts_per_tok=2, n_group=1, topk_group=1,
        n_shared_experts=1, moe_intermediate_size=32, first_k_dense_replace=1,
    )  # fmt: skip
    vision = {
        "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48,
        "pos_emb_height": 8, "pos_emb_width": 8,
    }  # fmt: skip
    names = {"image_token_id": "<|media_pad|>", "video_token_id": "<|kimi_k25_video_placeholder|>"}
    ids = {name: tokenizer.convert_tokens_to_ids(token) for name, token in names.items()}
    return hf.Kimi_K25Config(
        text_config=decoder, vision_config=vision, projection_hidden_size=32, tie_word_embeddings=False, **ids
    )


def kimi_processor(tokenizer: Any) -> Any:
    return hf.Kimi_K25Processor(
        image_processor=hf.Kimi_K25ImageProcessor(max_patches=192),
        tokenizer=tokenizer,
        video_processor=hf.Kimi_K25VideoProcessor(),
        chat_template=chat_template(KIMI_IMAGE),
    )


# -- MiniCPM-V

MINICPM = {
    "image_token": "<|image_pad|>", "video_token": "<|video_pad|>", "image_start_token": "<image>",
    "image_end_token": "</image>", "slice_start_token": "<slice>", "slice_end_token": "</slice>",
    "image_id_start_token": "<image_id>", "image_id_end_token": "</image_id>",
}  # fmt: skip


def minicpmv_config(tokenizer: Any) -> Any:
    """Three layers that carry a state, then one that looks back."""
    decoder = text(
        tokenizer, model_type="qwen3_5_text", head_dim=16, num_hidden_layers=4, linear_num_key_heads=2,
        linear_num_value_heads=4, linear_key_head_dim=16, linear_value_head_dim=16,
    )  # fmt: skip
    vision = {
        "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 2, "image_size": 128,
        "patch_size": 14, "insert_layer_id": 1,
    }  # fmt: skip
    ids = {f"{kind}_token_id": tokenizer.convert_tokens_to_ids(f"<|{kind}_pad|>") for kind in ("image", "video")}
    return hf.MiniCPMV4_6Config(text_config=decoder, vision_config=vision, insert_layer_id=1, image_size=128, **ids)


def minicpmv_processor(tokenizer: Any) -> Any:
    sizes = {"scale_resolution": 112, "patch_size": 14, "max_slice_nums": 6}
    return hf.MiniCPMV4_6Processor(
        image_processor=hf.MiniCPMV4_6ImageProcessorPil(**sizes),
        video_processor=hf.MiniCPMV4_6VideoProcessor(),
        tokenizer=tokenizer,
        chat_template=chat_template("<|image_pad|>", "<|video_pad|>"),
    )


RECIPES: dict[str, Recipe] = {
    "qwen2_vl": Recipe(qwen2_vl_config, qwen_processor("Qwen2VLProcessor", "Qwen2VLVideoProcessor", 14), QWEN),
    "qwen2_5_vl": Recipe(qwen2_5_vl_config, qwen_processor("Qwen2_5_VLProcessor", "Qwen2VLVideoProcessor", 14), QWEN),
    "qwen3_vl": Recipe(qwen3_vl_config, qwen_processor("Qwen3VLProcessor", "Qwen3VLVideoProcessor", 16), QWEN),
    "glm4v": Recipe(glm4v_config, glm4v_processor, GLM),
    "idefics3": Recipe(idefics3_config, idefics3_processor, IDEFICS),
    "smolvlm": Recipe(smolvlm_config, smolvlm_processor, (*IDEFICS, "<video>")),
    "llava": Recipe(llava_config, llava_processor, ("<|im_start|>", "<image>")),
    "internvl": Recipe(internvl_config, internvl_processor, ("<|im_start|>", *INTERNVL.values()), INTERNVL),
    "llava_onevision": Recipe(
        llava_onevision_config, llava_onevision_processor, ("<|im_start|>", "<image>", "<video>")
    ),
    "qwen2": Recipe(text_config("Qwen2Config"), None, ("<|im_start|>",)),
    "qwen3": Recipe(text_config("Qwen3Config"), None, ("<|im_start|>",)),
    "llama": Recipe(text_config("LlamaConfig"), None, ("<|im_start|>",)),
    "gemma2": Recipe(gemma2_config, None, ("<|im_start|>",)),
    "gemma3": Recipe(gemma3_config, gemma3_processor, ("<|im_start|>", *GEMMA.values()), GEMMA),
    "minicpmv4_6": Recipe(minicpmv_config, minicpmv_processor, ("<|im_start|>", *MINICPM.values()), MINICPM),
    "kimi_k25": Recipe(kimi_config, kimi_processor, KIMI),
}
