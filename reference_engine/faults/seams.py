"""The few functions that a fault may replace. An engine calls them through one :class:`Seams`, clean by default."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from reference_engine import encoder_cache, prefix_cache, sampler, scheduling_rules
from reference_engine.detokenizer import Detokenizer, SpelledText
from reference_engine.logprobs import PromptLogprobs
from reference_engine.multimodal import content_key, mrope, placeholders, processor_output
from reference_engine.vision import split_rows


@dataclass(frozen=True)
class Seams:
    """Each field has the signature of the function it defaults to."""

    expand_input_ids: Callable[..., placeholders.Expansion] = placeholders.expand_input_ids
    build_padded_input_ids: Callable[..., list[int]] = placeholders.build_padded_input_ids
    mrope_positions: Callable[..., Any] = mrope.mrope_positions
    chunk_positions: Callable[..., Any] = mrope.chunk_positions
    decode_positions: Callable[..., Any] = mrope.decode_positions
    content_key: Callable[..., bytes] = content_key.content_key
    pad_value: Callable[..., int] = prefix_cache.pad_value
    count_rows: Callable[..., int] = encoder_cache.count_rows
    is_pending: Callable[..., bool] = encoder_cache.is_pending
    admits: Callable[..., bool] = scheduling_rules.admits
    chunk_length: Callable[..., int] = scheduling_rules.chunk_length
    sampling_order: Callable[..., list[Any]] = scheduling_rules.sampling_order
    first_ahead: Callable[..., int] = encoder_cache.first_ahead
    image_window: Callable[..., tuple[slice, slice]] = encoder_cache.image_window
    unpin_removed: Callable[..., None] = encoder_cache.EncoderCache.unpin
    cached_prefix: Callable[..., list[int]] = prefix_cache.cached_prefix
    sample: Callable[..., Any] = sampler.sample
    prompt_logprobs: Callable[..., PromptLogprobs] = PromptLogprobs
    ids_disagreement: Callable[..., str | None] = processor_output.ids_disagreement
    positions_disagreement: Callable[..., str | None] = processor_output.positions_disagreement
    split_rows: Callable[..., Any] = split_rows
    detokenizer: Callable[..., Detokenizer] = SpelledText


CLEAN = Seams()
