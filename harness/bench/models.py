"""The checkpoints that are benchmarked: the sentinel, and random weights of real sizes. Made once, into a cache folder.

None of them has an end token, so that every contestant makes exactly the tokens that were asked for, by the same rule.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from harness.errors import UsageError

SENTINEL = "sentinel-qwen2.5-vl"
HALF_BILLION = "random-0.5b"
SIZES: dict[str, dict[str, Any]] = {
    HALF_BILLION: {
        "hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24, "num_attention_heads": 14,
        "num_key_value_heads": 2, "vocab_size": 151_936, "tie_word_embeddings": True,
    },
    "random-3b": {
        "hidden_size": 2048, "intermediate_size": 11_008, "num_hidden_layers": 36, "num_attention_heads": 16,
        "num_key_value_heads": 2, "vocab_size": 151_936, "tie_word_embeddings": True,
    },
    "random-7b": {
        "hidden_size": 3584, "intermediate_size": 18_944, "num_hidden_layers": 28, "num_attention_heads": 28,
        "num_key_value_heads": 4, "vocab_size": 152_064, "tie_word_embeddings": False,
    },
}  # fmt: skip
"""Qwen2.5's published shapes of the text model, under a small vision tower."""
BFLOAT16 = ("random-3b", "random-7b")


def checkpoint(name: str, cache: Path) -> Path:
    """The directory of a model, made if it is not there. Raises :class:`UsageError` listing the names."""
    if name not in MODELS:
        raise UsageError(f"unknown benchmark model {name!r}; known: {', '.join(MODELS)}")
    directory = cache / name
    if not (directory / "config.json").is_file():
        waiting = cache / f"{name}.waiting"
        shutil.rmtree(waiting, ignore_errors=True)
        waiting.mkdir(parents=True)
        MODELS[name](name, waiting)
        without_end(waiting)
        waiting.replace(directory)
    return directory


def without_end(directory: Path) -> None:
    """Take the end token out of a checkpoint's configuration."""
    for file in ("config.json", "generation_config.json"):
        config = json.loads((directory / file).read_text())
        for part in (config, config.get("text_config", {})):
            if "eos_token_id" in part:
                part["eos_token_id"] = None
        (directory / file).write_text(json.dumps(config, indent=2) + "\n")


def _copy_sentinel(name: str, directory: Path) -> None:
    from reference_engine.sentinels import resolve_model

    shutil.copytree(resolve_model(name), directory, dirs_exist_ok=True)


def _make_random(name: str, directory: Path) -> None:
    """The sentinel with a text model of another size and weights from seed 0; a bfloat16 file where float32 would not
    be run."""
    import torch
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    _copy_sentinel(SENTINEL, directory)
    (directory / "model.safetensors").unlink()
    file = directory / "config.json"
    file.write_text(json.dumps(resized(json.loads(file.read_text()), SIZES[name])))
    torch.manual_seed(0)
    model = Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig.from_pretrained(directory))
    model.generation_config.pad_token_id = model.config.text_config.pad_token_id
    model.to(torch.bfloat16 if name in BFLOAT16 else torch.float32).save_pretrained(directory)


def resized(config: Mapping[str, Any], size: Mapping[str, Any]) -> dict[str, Any]:
    """A checkpoint's configuration with another text model; the vision tower keeps its size."""
    eighth = size["hidden_size"] // size["num_attention_heads"] // 8
    rotary = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [eighth, 3 * eighth // 2, 3 * eighth // 2]}
    text = {**config["text_config"], **size, "rope_parameters": rotary, "initializer_range": 0.02}
    del text["layer_types"]
    vision = {**config["vision_config"], "out_hidden_size": size["hidden_size"]}
    tied = size["tie_word_embeddings"]
    return {**config, "text_config": text, "vision_config": vision, "tie_word_embeddings": tied}


MODELS: Mapping[str, Callable[[str, Path], None]] = {SENTINEL: _copy_sentinel} | dict.fromkeys(SIZES, _make_random)
