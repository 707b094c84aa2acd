"""From a configuration to everything an engine is made of: checkpoint, family, cache, and a passed self-test."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from reference_engine import hf
from reference_engine.attention import Backend
from reference_engine.attention.sdpa import SDPAStep
from reference_engine.attention.tiled import TiledStep
from reference_engine.config import EngineConfig
from reference_engine.detokenizer import SpelledText
from reference_engine.errors import ConfigError
from reference_engine.kv_cache import KVCache
from reference_engine.multimodal.family import Family
from reference_engine.multimodal.qwen2_5_vl import Qwen25VL, SlicedQwen25VL
from reference_engine.selftest import check_invariant, check_packed, plain_cases
from reference_engine.sentinels import resolve_model
from reference_engine.tokenizer import Codec, MakesDetokenizer, load_codec

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Loaded:
    model: hf.Model
    codec: Codec
    family: Family
    geometry: hf.Geometry
    cache: KVCache
    backend: Backend


def load(config: EngineConfig, detokenizer: MakesDetokenizer = SpelledText) -> Loaded:
    """Load and check. Raises :class:`ConfigError` for whatever the configuration or the checkpoint makes impossible."""
    for name in ("block_size", "num_blocks", "max_batch_size", "max_prompt_tokens"):
        if getattr(config, name) < 1:
            raise ConfigError(f"{name}: {getattr(config, name)} is not at least 1")
    path = resolve_model(config.model)
    checkpoint = hf.load_checkpoint(path, dtype=config.dtype, device=config.device)
    model, geometry = checkpoint.model, checkpoint.geometry
    codec = load_codec(path, geometry.vocabulary, config, detokenizer)
    cases = plain_cases(model, geometry, checkpoint.images.merge_size)
    model.use_paged_attention(batch_invariant=config.batch_invariant)
    backend = choose_backend(config)
    difference = check_packed(model, backend, cases, geometry)
    logger.info("loaded %s; packed and plain forward differ by %.1e of the largest logit", config.model, difference)
    if config.batch_invariant:
        check_invariant(model, backend, cases, geometry)
    cache = KVCache(
        layers=geometry.layers, heads=geometry.kv_heads, width=geometry.head_width, blocks=config.num_blocks,
        block_size=config.block_size, lanes=config.max_batch_size, longest=geometry.context,
        dtype=model.dtype, device=config.device,
    )  # fmt: skip
    return Loaded(model, codec, _family(checkpoint, codec, config.slice_rows), geometry, cache, backend)


def choose_backend(config: EngineConfig) -> Backend:
    """Who attends, for the life of the engine. Everything that differs between backends is behind this one choice."""
    if config.attention == "torch" or (config.attention == "auto" and config.device == "cpu"):
        return TiledStep if config.batch_invariant else SDPAStep
    try:
        from reference_engine.attention.triton import InvariantTritonStep, TritonStep
    except ImportError as error:
        advice = "install the extra 'gpu' of this package, or set attention=torch"
        raise ConfigError(f"attention: {config.attention!r} needs triton ({error}); {advice}") from error
    return InvariantTritonStep if config.batch_invariant else TritonStep


def _family(checkpoint: hf.Checkpoint, codec: Codec, slice_rows: int) -> Family:
    geometry = checkpoint.geometry
    whole = Qwen25VL(checkpoint.images, geometry.image_id, codec.name(geometry.image_id))
    if slice_rows == 0:
        return whole
    separator = (geometry.vision_end_id, geometry.vision_start_id)
    return SlicedQwen25VL(whole, slice_rows, separator, "".join(map(codec.name, separator)))
