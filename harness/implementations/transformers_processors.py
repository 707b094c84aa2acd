"""Processors of transformers' own families, built on the spot: default settings, a tokenizer of bytes and no download.

A family is a folder of ``transformers.models`` whose processor counts placeholder tokens from an image's size alone
(``_get_num_multimodal_tokens``); other engines plan with that count while the processor itself expands from pixels.
Tokenizers hold every token by which the processor's source names one, so no family needs a table of tokens.
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from harness.implementations.base import Measured, Size, Unsupported

SETTINGS: dict[str, dict[str, Any]] = {
    "llava": {"patch_size": 14, "vision_feature_select_strategy": "default", "num_additional_image_tokens": 1},
    "llava_next": {"patch_size": 14, "vision_feature_select_strategy": "default", "num_additional_image_tokens": 1},
    "llava_next_video": {
        "patch_size": 14,
        "vision_feature_select_strategy": "default",
        "num_additional_image_tokens": 1,
    },
    "llava_onevision": {"num_image_tokens": 729, "vision_feature_select_strategy": "full"},
    "granite4_vision": {
        "patch_size": 16,
        "vision_feature_select_strategy": "full",
        "num_additional_image_tokens": 0,
        "downsample_rate": "1/2",
    },
    "perception_lm": {"patch_size": 14},
}
"""Of processors whose own defaults are no settings at all, as published checkpoints have them."""


def transformers() -> Any:
    importlib.import_module("reference_engine.hf")  # lets it load beside a torchvision built for another torch
    return importlib.import_module("transformers")


@cache
def families() -> tuple[str, ...]:
    """Every family of the installed release that counts from sizes."""
    models = Path(transformers().__file__).parent / "models"
    return tuple(
        sorted(
            file.parent.name
            for file in models.glob("*/processing_*.py")
            if "def _get_num_multimodal_tokens" in file.read_text(encoding="utf-8")
        )
    )


@cache
def processor(family: str) -> Any:
    """Raises :class:`Unsupported` with the reason where none can be built from defaults."""
    module = importlib.import_module(f"transformers.models.{family}.processing_{family}")
    made_here = [c for _, c in inspect.getmembers(module, inspect.isclass) if c.__module__ == module.__name__]
    kind: Any = next(c for c in made_here if "_get_num_multimodal_tokens" in vars(c))
    try:
        parts = {name: _part(family, name, module) for name in kind.get_attributes()}
        return kind(**parts, **SETTINGS.get(family, {}))
    except Exception as error:
        raise Unsupported(f"{kind.__name__} cannot be built from defaults: {type(error).__name__}: {error}") from error


def _part(family: str, name: str, module: Any) -> Any:
    """The family's image, video or audio processor with its default settings, or a tokenizer."""
    if name == "tokenizer":
        return tokenizer(inspect.getsource(module))
    auto = importlib.import_module(f"transformers.models.auto.{_AUTO[name][0]}")
    found = getattr(auto, _AUTO[name][1])[family]
    if isinstance(found, dict):
        found = found.get("torchvision") or next(iter(found.values()))
    if isinstance(found, (tuple, list)):
        found = next(kind for kind in reversed(found) if kind)
    return getattr(transformers(), found)()


_AUTO = {
    "image_processor": ("image_processing_auto", "IMAGE_PROCESSOR_MAPPING_NAMES"),
    "video_processor": ("video_processing_auto", "VIDEO_PROCESSOR_MAPPING_NAMES"),
    "feature_extractor": ("feature_extraction_auto", "FEATURE_EXTRACTOR_MAPPING_NAMES"),
}
_WRITTEN = re.compile(r"""["'](<[^"'\s{}]+>|\[[A-Z_]+\])["']""")
_ASKED = re.compile(r"tokenizer\.([a-z_]+_token)\b|getattr\(tokenizer, \"([a-z_]+_token)\"|\"([a-z_]+_token)\",")
_OWN = {"bos_token", "eos_token", "pad_token", "unk_token", "sep_token"}


def tokenizer(source: str) -> Any:
    """A byte-level tokenizer without merges, with every token that ``source`` writes out or asks for by name."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE({letter: i for i, letter in enumerate(alphabet)}, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.decoder = decoders.ByteLevel()
    asked = {name for found in _ASKED.findall(source) for name in found if name} - _OWN
    named = {name: f"<|{name}|>" for name in sorted(asked)}
    tiles = [f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7)]
    written = [token for token in dict.fromkeys(_WRITTEN.findall(source)) if len(token) < 40]
    made.add_special_tokens(
        [AddedToken(t, special=True, normalized=False) for t in [*written, *tiles, *named.values()]]
    )
    return transformers().PreTrainedTokenizerFast(
        tokenizer_object=made, bos_token="<|bos|>", eos_token="<|eos|>", pad_token="<|pad|>", unk_token="<|unk|>",
        sep_token="<|sep|>", extra_special_tokens=named,
    )  # fmt: skip


PROMPTS = {
    "gemma3": "{boi_token}",
    "hunyuan_vl": "{image_start_token}{image_token}{image_end_token}",
    "qianfan_ocr": "{image_placeholder_token}",
}
"""How a prompt shows one image, where that is not by the image token alone."""


def measure_image(family: str, size: Size) -> Measured:
    """``_get_num_multimodal_tokens`` against the prompt that the processor makes of an image of that size."""
    made = processor(family)
    return Measured(_or_refused(lambda: _count(made, size)), _or_refused(lambda: _run(made, family, size)))


def _or_refused(ask: Callable[[], int]) -> int | None:
    try:
        return ask()
    except ValueError:
        return None


def _count(made: Any, size: Size) -> int:
    width, height = size
    return int(made._get_num_multimodal_tokens(image_sizes=[(height, width)]).num_image_tokens[0])


def _run(made: Any, family: str, size: Size) -> int:
    """Tokens of the prompt that the processor itself marks as an image's."""
    from PIL import Image

    text = PROMPTS.get(family, "{image_token}").format_map(_Tokens(made))
    run = made(images=[Image.new("RGB", size, (90, 120, 60))], text=[text], return_mm_token_type_ids=True)
    kinds = run["mm_token_type_ids" if "mm_token_type_ids" in run else "token_type_ids"]
    return sum(int(kind) == 1 for kind in kinds[0])


class _Tokens(dict[str, str]):
    """A processor's tokens by name."""

    def __init__(self, made: Any) -> None:
        self._made = made

    def __missing__(self, name: str) -> str:
        return str(getattr(self._made, name))


def measurable() -> tuple[str, ...]:
    """Families whose processor can be built from defaults and takes one image and a prompt."""
    return tuple(family for family in families() if family not in UNBUILT)


UNBUILT = {
    "aya_vision": "its tiles are named by numbered tokens, which only a published vocabulary has",
    "colmodernvbert": "retrieval: its processor takes images or text, not both",
    "colpali": "retrieval: its processor takes images or text, not both",
    "colqwen2": "retrieval: its processor takes images or text, not both",
    "florence2": "its count is a setting of published image processors, which no default has",
    "fuyu": "its vocabulary is looked up token by token, and every size is padded to one",
    "minimax_m3_vl": "its image token is the bracket of another, which a vocabulary of bytes cannot tell apart",
    "paligemma": "its processor sets add_bos_token, which no tokenizer of this release takes",
    "shieldgemma2": "it takes a policy and a chat template with every image",
}
"""Families that count, and why they are not measured."""
