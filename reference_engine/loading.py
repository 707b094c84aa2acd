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
from reference_engine.multimodal.encoding import encoder
from reference_engine.multimodal.families import family_of, known
from reference_engine.multimodal.families.grid import GridFamily
from reference_engine.multimodal.families.sliced import sliced
from reference_engine.multimodal.family import Family
from reference_engine.selftest import check_invariant, check_packed, plain_cases
from reference_engine.sentinels import resolve_model
from reference_engine.tokenizer import Codec, MakesDetokenizer, load_codec
from reference_engine.vision import Encoder

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Loaded:
    model: hf.Model
    codec: Codec
    family: Family
    encode: Encoder
    geometry: hf.Geometry
    cache: KVCache
    backend: Backend


def load(config: EngineConfig, detokenizer: MakesDetokenizer = SpelledText) -> Loaded:
    """Load and check. Raises :class:`ConfigError` for whatever the configuration or the checkpoint makes impossible."""
    for name in ("block_size", "num_blocks", "max_batch_size", "max_prompt_tokens", "encoder_rows"):
        if getattr(config, name) < 1:
            raise ConfigError(f"{name}: {getattr(config, name)} is not at least 1")
    path = resolve_model(config.model)
    checkpoint = hf.load_checkpoint(path, known, dtype=config.dtype, device=config.device)
    model, geometry = checkpoint.model, checkpoint.geometry
    codec = load_codec(path, geometry.vocabulary, config, detokenizer)
    family = _family(checkpoint, codec, config.slice_rows)
    cases = plain_cases(model, geometry, family, codec)
    model.use_paged_attention(segments=family.traits.segments, batch_invariant=config.batch_invariant)
    backend, encode = choose_backend(config), encoder(model, family)
    difference = check_packed(model, encode, backend, cases, geometry)
    logger.info("loaded %s; packed and plain forward differ by %.1e of the largest logit", config.model, difference)
    if config.batch_invariant:
        check_invariant(model, encode, backend, cases, geometry)
    cache = KVCache(
        layers=geometry.layers, heads=geometry.kv_heads, width=geometry.key_width, blocks=config.num_blocks,
        block_size=config.block_size, lanes=config.max_batch_size, longest=geometry.context,
        dtype=model.dtype, device=config.device,
    )  # fmt: skip
    return Loaded(model, codec, family, encode, geometry, cache, backend)


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
    family = family_of(checkpoint.config, checkpoint.processors, codec)
    if slice_rows == 0:
        return family
    if not isinstance(family, GridFamily):
        raise ConfigError(f"slice_rows: {family.name} cannot be sliced; set it to 0")
    return sliced(family, slice_rows, checkpoint.config, codec)
