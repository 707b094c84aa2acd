"""The few functions that a fault may replace. An engine calls them through one :class:`Seams`, clean by default."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, fields
from typing import Any, TypeVar

from torch import Tensor

from reference_engine import (
    encoder_cache,
    graphs,
    live_request,
    prefix_cache,
    sampler,
    sampling_params,
    scheduling_rules,
    step_inputs,
    vision,
)
from reference_engine.detokenizer import Detokenizer, SpelledText, TextStream
from reference_engine.logprobs import PromptLogprobs
from reference_engine.multimodal import content_key, images, mrope, placeholders, placing, processor_output, prompt

Part = TypeVar("Part")


def as_built(engine: Any) -> None:
    """An engine stays what it was built as."""


@dataclass(frozen=True)
class Seams:
    """Each field has the signature of the function it defaults to."""

    alter: Callable[[Any], None] = as_built
    """What a fault that has no seam of its own does to the whole engine, once it is built."""
    # a prompt, from its request
    load_image: Callable[..., Any] = images.load_image
    is_served: Callable[..., bool] = prompt.is_served
    lay_out: Callable[..., placeholders.Layout] = placing.lay_out
    to_processor: Callable[..., Any] = prompt.as_it_is
    check_ids: Callable[..., None] = placing.check_ids
    check_sampling: Callable[..., None] = sampling_params.check_sampling
    keeps_ids: Callable[..., bool] = placing.keeps_ids
    expand_input_ids: Callable[..., placeholders.Expansion] = placeholders.expand_input_ids
    mrope_positions: Callable[..., Any] = mrope.mrope_positions
    ids_disagreement: Callable[..., str | None] = processor_output.ids_disagreement
    positions_disagreement: Callable[..., str | None] = processor_output.positions_disagreement
    positions_of: Callable[..., prompt.PreparedPrompt] = prompt.positions_of
    image_places: Callable[..., Tensor] = live_request.image_places
    # keys
    content_key: Callable[..., bytes] = content_key.content_key
    pad_value: Callable[..., int] = prefix_cache.pad_value
    build_padded_input_ids: Callable[..., list[int]] = placeholders.build_padded_input_ids
    entry_key: Callable[..., Hashable] = encoder_cache.entry_key
    # who runs, and what is kept
    enqueue: Callable[..., None] = scheduling_rules.enqueue
    admits: Callable[..., bool] = scheduling_rules.admits
    chunk_length: Callable[..., int] = scheduling_rules.chunk_length
    cached_prefix: Callable[..., list[int]] = prefix_cache.cached_prefix
    skip: Callable[..., None] = live_request.LiveRequest.skip
    first_ahead: Callable[..., int] = encoder_cache.first_ahead
    count_rows: Callable[..., int] = encoder_cache.count_rows
    is_pending: Callable[..., bool] = encoder_cache.is_pending
    unpinned: Callable[..., bool] = encoder_cache.unpinned
    unpin_removed: Callable[..., None] = encoder_cache.EncoderCache.unpin
    flush_rows: Callable[..., None] = encoder_cache.EncoderCache.flush
    # the encoder
    encode_pass: Callable[..., Any] = vision.encode_pass
    split_rows: Callable[..., Any] = vision.split_rows
    # a step
    last_tokens: Callable[..., list[int]] = step_inputs.last_tokens
    embed: Callable[..., Tensor] = step_inputs.embed
    image_window: Callable[..., tuple[slice, slice]] = encoder_cache.image_window
    cut_rows: Callable[..., Tensor] = step_inputs.cut_rows
    lay_rows: Callable[..., None] = step_inputs.lay_rows
    deepstack_of: Callable[..., Any] = step_inputs.deepstack_of
    chunk_positions: Callable[..., Tensor] = mrope.chunk_positions
    decode_positions: Callable[..., Tensor] = mrope.decode_positions
    copy_inputs: Callable[..., None] = graphs.copy_inputs
    last_rows: Callable[..., Tensor] = step_inputs.last_rows
    sampling_order: Callable[..., list[Any]] = scheduling_rules.sampling_order
    # an answer
    sample: Callable[..., Any] = sampler.sample
    prompt_logprobs: Callable[..., PromptLogprobs] = PromptLogprobs
    detokenizer: Callable[..., Detokenizer] = SpelledText
    open_stream: Callable[..., TextStream] = live_request.open_stream
    answer_tokens: Callable[..., tuple[list[int], list[Any]]] = live_request.answer_tokens
    step_outputs: Callable[..., list[Any]] = scheduling_rules.step_outputs

    def part(self, of: type[Part]) -> Part:
        """The seams of one room, whose fields have the same names here."""
        return of(**{f.name: getattr(self, f.name) for f in fields(of)})  # type: ignore[arg-type]


CLEAN = Seams()
