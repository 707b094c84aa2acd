"""Configuration and weights of a checkpoint, or a :class:`ConfigError` that says what is not served."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from reference_engine.errors import ConfigError
from reference_engine.hf.library import transformers
from reference_engine.hf.model import Model
from reference_engine.hf.processors import Processors

LAYERS = {"gemma2": {"sliding_attention"}, "gemma3": {"sliding_attention"}, "minicpmv4_6": {"linear_attention"}}
"""Kinds of layers, beside full attention, that are served of a model type: the tests compare them."""


@dataclass(frozen=True)
class Geometry:
    """The numbers of a checkpoint that the engine needs, whatever its family."""

    layers: int
    kv_heads: int
    key_width: int
    value_width: int
    vocabulary: int
    context: int
    eos_ids: frozenset[int]


@dataclass(frozen=True)
class Description:
    """Of a checkpoint, all but its weights."""

    config: Any
    """transformers' configuration object."""
    processors: Processors
    geometry: Geometry


@dataclass(frozen=True)
class Checkpoint(Description):
    model: Model


def describe_checkpoint(path: Path, known: frozenset[str]) -> Description:
    """From files of configuration alone. Raises :class:`ConfigError` naming what is missing, or what is not served;
    ``known`` are the model types that are.
    """
    try:
        config = transformers.AutoConfig.from_pretrained(path, local_files_only=True)
        check_supported(config, known)
        return Description(config, Processors(path), read_geometry(config, path))
    except (OSError, ValueError, KeyError) as error:
        raise _not_loaded(path, error) from error


def load_checkpoint(path: Path, known: frozenset[str], *, dtype: str, device: str) -> Checkpoint:
    """:func:`describe_checkpoint` and the weights."""
    described = describe_checkpoint(path, known)
    try:
        model = _load_model(path, described.config, dtype, device)
    except (OSError, ValueError, KeyError) as error:
        raise _not_loaded(path, error) from error
    return Checkpoint(described.config, described.processors, described.geometry, Model(model))


def _not_loaded(path: Path, error: Exception) -> ConfigError:
    return error if isinstance(error, ConfigError) else ConfigError(f"model: {path} cannot be loaded: {error}")


def _load_model(path: Path, config: Any, dtype: str, device: str) -> Any:
    auto = transformers.AutoModelForImageTextToText
    if not hasattr(config, "vision_config"):  # a model of text alone
        auto = transformers.AutoModelForCausalLM
    capped = getattr(config.get_text_config(), "attn_logit_softcapping", None) is not None
    bars = transformers.utils.logging.is_progress_bar_enabled()
    transformers.utils.logging.disable_progress_bar()
    try:
        model = auto.from_pretrained(
            path, dtype=getattr(torch, dtype), attn_implementation="eager" if capped else "sdpa", local_files_only=True
        )
    finally:
        if bars:
            transformers.utils.logging.enable_progress_bar()
    return model.to(device).eval().requires_grad_(False)


def check_supported(config: Any, known: frozenset[str]) -> None:
    """Raises :class:`ConfigError` for a model that this engine would run wrongly."""
    if config.model_type not in known:
        raise ConfigError(f"model: type {config.model_type!r} is not served; known: {', '.join(sorted(known))}")
    text = config.get_text_config()
    for rope in _rope_types(text.rope_parameters):
        if rope != "default":  # dynamic types look at the longest position of the whole packed batch
            raise ConfigError(
                f"model: rope type {rope!r} would let one request change another's positions; only 'default' is served"
            )
    served = {"full_attention"} | LAYERS.get(config.model_type, set())
    layers = set(getattr(text, "layer_types", None) or served) - served
    if layers:
        raise ConfigError(f"model: attention layers {sorted(layers)} are not served; only {sorted(served)}")


def _rope_types(parameters: dict[str, Any]) -> list[str]:
    """One for the whole model, or one for every kind of layer (Gemma 3)."""
    return [parameters["rope_type"]] if "rope_type" in parameters else [p["rope_type"] for p in parameters.values()]


def read_geometry(config: Any, path: Path) -> Geometry:
    """From configuration files alone."""
    text = config.get_text_config()
    eos = text.eos_token_id
    if (path / "generation_config.json").is_file():
        named = transformers.GenerationConfig.from_pretrained(path, local_files_only=True).eos_token_id
        eos = eos if named is None else named
    return Geometry(
        layers=text.num_hidden_layers,
        **_widths(text),
        vocabulary=text.vocab_size,
        context=text.max_position_embeddings,
        eos_ids=frozenset(eos if isinstance(eos, list) else [] if eos is None else [eos]),
    )


def _widths(text: Any) -> dict[str, int]:
    """Of what is cached. Multi-head latent attention (DeepSeek-V3) is cached as transformers hands it over: expanded,
    keys wider than values.
    """
    if hasattr(text, "kv_lora_rank"):
        keys = text.qk_nope_head_dim + text.qk_rope_head_dim
        return {"kv_heads": text.num_attention_heads, "key_width": keys, "value_width": text.v_head_dim}
    width = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    return {"kv_heads": text.num_key_value_heads, "key_width": width, "value_width": width}
