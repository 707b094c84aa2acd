"""From a configuration to everything an engine is made of: checkpoint, family, cache, and a passed self-test."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

import torch

from reference_engine import hf
from reference_engine.attention import Backend
from reference_engine.attention.ragged import RaggedStep
from reference_engine.attention.sdpa import SDPAStep
from reference_engine.attention.tiled import TiledStep
from reference_engine.config import EngineConfig
from reference_engine.detokenizer import SpelledText
from reference_engine.device import runs_kernels
from reference_engine.errors import ConfigError
from reference_engine.kv_cache import KVCache
from reference_engine.model_runner import Decoder, ModelRunner
from reference_engine.multimodal.encoding import encoder
from reference_engine.multimodal.families import family_of, known
from reference_engine.multimodal.families.grid import GridFamily
from reference_engine.multimodal.families.sliced import sliced
from reference_engine.multimodal.family import Family
from reference_engine.parallel.collectives import Collectives
from reference_engine.parallel.driver import ShardedDecoder
from reference_engine.parallel.worker import rank_device
from reference_engine.selftest import check_invariant, check_packed, plain_cases
from reference_engine.sentinels import resolve_model
from reference_engine.tokenizer import Codec, MakesDetokenizer, load_codec
from reference_engine.vision import Encoder

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Loaded:
    decoder: Decoder
    """The model, or its share and what binds it to the other ranks."""
    codec: Codec
    family: Family
    encode: Encoder
    geometry: hf.Geometry
    cache: KVCache
    backend: Backend
    close: Callable[[], None]


def load(config: EngineConfig, detokenizer: MakesDetokenizer = SpelledText) -> Loaded:
    """Load and check. Raises :class:`ConfigError` for whatever the configuration or the checkpoint makes impossible."""
    counts = ("block_size", "num_blocks", "max_batch_size", "max_prompt_tokens", "encoder_rows", "tensor_parallel")
    for name in counts:
        if getattr(config, name) < 1:
            raise ConfigError(f"{name}: {getattr(config, name)} is not at least 1")
    path = resolve_model(config.model)
    ranks = config.tensor_parallel
    checkpoint = hf.load_checkpoint(path, known, dtype=config.dtype, device=config.device if ranks == 1 else "cpu")
    model, geometry = checkpoint.model, checkpoint.geometry
    codec = load_codec(path, geometry.vocabulary, config, detokenizer)
    family = make_family(checkpoint, codec, config.slice_rows)
    refuse_unfit(config, family)
    refuse_recording(config, has_experts=model.has_experts)
    cases = plain_cases(model, geometry, family, codec)
    spread = None if ranks == 1 else spread_over_ranks(config, model)
    model.use_paged_attention(
        segments=family.traits.segments, batch_invariant=config.batch_invariant,
        kernels=uses_kernels(config) or runs_kernels(model.device),
    )  # fmt: skip
    if config.compile:
        model.compile_decoder()
    else:
        model.use_faster_modules(batch_invariant=config.batch_invariant)
    encode, backend = encoder(model, family), choose_backend(config)
    decoder: Decoder = model
    new_cache: Callable[..., KVCache] = KVCache
    close: Callable[[], None] = _nothing
    if spread is not None:
        decoder, backend, new_cache, close = spread, spread.backend(backend), spread.new_cache, spread.close

    def make_cache(**numbers: int) -> KVCache:
        return new_cache(
            layers=geometry.layers, heads=geometry.kv_heads, width=geometry.key_width,
            value_width=geometry.value_width, dtype=model.dtype, device=str(model.device), **numbers,
        )  # fmt: skip

    def make_runner(**numbers: int) -> ModelRunner:
        return ModelRunner(decoder, make_cache(**numbers), backend)

    difference = check_packed(make_runner, encode, cases, model.dtype)
    logger.info("loaded %s; packed and plain forward differ by %.1e of the largest logit", config.model, difference)
    if config.batch_invariant:
        check_invariant(make_runner, encode, cases)
    cache = make_cache(
        blocks=config.num_blocks, block_size=config.block_size, lanes=config.max_batch_size, longest=geometry.context
    )
    return Loaded(decoder, codec, family, encode, geometry, cache, backend, close)


def refuse_unfit(config: EngineConfig, family: Family) -> None:
    """Raises :class:`ConfigError` for a setting that this family's model cannot be run with."""
    if config.batch_invariant and family.traits.both_ways:
        raise ConfigError(f"batch_invariant: not with {family.name}, whose images are seen both ways; turn it off")
    if family.traits.recurrent:
        unfit = {"batch_invariant": config.batch_invariant, "cuda_graph": config.cuda_graph, "compile": config.compile}
        unfit["tensor_parallel"] = config.tensor_parallel > 1
        for name in (name for name, asked in unfit.items() if asked):
            raise ConfigError(f"{name}: not with {family.name}, whose layers carry a state; turn it off")


def refuse_recording(config: EngineConfig, *, has_experts: bool) -> None:
    """Raises :class:`ConfigError` for a model whose steps a card cannot record: the products of its experts may be cut
    by counts that the host reads, and a recording must not read anything.
    """
    if config.cuda_graph and config.device != "cpu" and has_experts:
        raise ConfigError("cuda_graph: not with a mixture of experts on a card; turn it off")


def _nothing() -> None:
    """What there is to close in one process."""


def spread_over_ranks(config: EngineConfig, model: hf.Model) -> ShardedDecoder:
    """The first rank's share of the model, bound to those of the others."""
    for name in ("batch_invariant", "compile", "cuda_graph"):
        if getattr(config, name):
            ranks = config.tensor_parallel
            raise ConfigError(f"tensor_parallel: {ranks} does not go with {name}; turn one of them off")
    last, cards = rank_device(config, config.tensor_parallel - 1), torch.cuda.device_count()
    if last.type != "cpu" and last.index >= cards:
        raise ConfigError(f"tensor_parallel: {config.tensor_parallel} needs cards up to {last}; there are {cards}")
    return ShardedDecoder(config, model)


def load_share(config: EngineConfig, collectives: Collectives, device: torch.device) -> hf.Model:
    """Another rank's share: the decoder, ready to run steps."""
    model = hf.load_checkpoint(resolve_model(config.model), known, dtype=config.dtype, device="cpu").model
    model.keep_share(collectives, device, decoder_only=True)
    model.use_paged_attention(segments=False)
    return model


def uses_kernels(config: EngineConfig) -> bool:
    """Whether our Triton kernels attend, and do what else ``batch_invariant`` asks for."""
    return config.attention == "triton" or (config.attention == "auto" and config.device != "cpu")


def choose_backend(config: EngineConfig) -> Backend:
    """Who attends, for the life of the engine. Everything that differs between backends is behind this one choice."""
    if not uses_kernels(config):
        if config.batch_invariant:
            return TiledStep
        return RaggedStep if config.device == "cpu" and not config.cuda_graph else SDPAStep
    try:
        from reference_engine.attention.triton import InvariantTritonStep, TritonStep
    except ImportError as error:
        advice = "install the extra 'gpu' of this package, or set attention=torch"
        raise ConfigError(f"attention: {config.attention!r} needs triton ({error}); {advice}") from error
    return InvariantTritonStep if config.batch_invariant else TritonStep


def make_family(description: hf.Description, codec: Codec, slice_rows: int) -> Family:
    """The checkpoint's own, or its sliced variant."""
    family = family_of(description.config, description.processors, codec)
    if slice_rows == 0:
        return family
    if not isinstance(family, GridFamily):
        raise ConfigError(f"slice_rows: {family.name} cannot be sliced; set it to 0")
    return sliced(family, slice_rows, description.config, codec)
