"""The families that are served, one small file each. ``known`` are the model types by which transformers calls them."""

from __future__ import annotations

from typing import Any

from reference_engine.multimodal.families.gemma3 import Gemma3
from reference_engine.multimodal.families.glm4v import GLM4V
from reference_engine.multimodal.families.idefics3 import Idefics3
from reference_engine.multimodal.families.internvl import InternVL
from reference_engine.multimodal.families.kimi import Kimi
from reference_engine.multimodal.families.llava import Llava
from reference_engine.multimodal.families.llava_onevision import LlavaOnevision
from reference_engine.multimodal.families.minicpmv import MiniCPMV
from reference_engine.multimodal.families.qwen2_vl import Qwen2VL
from reference_engine.multimodal.families.qwen3_vl import Qwen3VL
from reference_engine.multimodal.families.text import TextOnly
from reference_engine.multimodal.family import Family

_FAMILIES: dict[str, Any] = {
    "qwen2_vl": Qwen2VL,
    "qwen2_5_vl": Qwen2VL,
    "qwen3_vl": Qwen3VL,
    "glm4v": GLM4V,
    "idefics3": Idefics3,
    "smolvlm": Idefics3,
    "internvl": InternVL,
    "llava": Llava,
    "llava_onevision": LlavaOnevision,
    "gemma3": Gemma3,
    "kimi_k25": Kimi,
    "minicpmv4_6": MiniCPMV,
    "qwen2": TextOnly,
    "qwen3": TextOnly,
    "llama": TextOnly,
    "gemma2": TextOnly,
}
known = frozenset(_FAMILIES)


def family_of(config: Any, processors: Any, codec: Any) -> Family:
    """The family of a checkpoint: transformers' configuration, its :class:`Processors` and the engine's codec."""
    made: Family = _FAMILIES[config.model_type].of(config, processors, codec)
    return made
