"""Faults of admission, chunks and the order of a batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from reference_engine.encoder_cache import EncoderCache
from reference_engine.faults.catalogue import Fault
from reference_engine.kv_cache import KVCache
from reference_engine.live_request import LiveRequest
from reference_engine.multimodal.prompt import PreparedItem


def pin_before_blocks_are_free(
    cache: KVCache, rows: EncoderCache, length: int, shared: Sequence[int], items: Sequence[PreparedItem], request: str
) -> bool:
    """Encoder rows are taken first; when blocks are short, the request waits with them."""
    if not rows.fits(items, request):
        return False
    for item in items:
        rows.pin(item, request)
    return cache.fits(length, shared)


def whole_blocks_only(left: int, room: int, block_size: int) -> int:
    """A chunk that does not end a prompt is rounded down to whole blocks, to none at all if need be."""
    return left if left <= room else room // block_size * block_size


def order_of_arrival(chunks: Sequence[Any]) -> list[Any]:
    """Logits go to requests in order of arrival; the batch ran with decoding ones first."""
    return sorted((chunk for chunk in chunks if chunk.samples), key=lambda chunk: chunk.live.turn)


def count_twice(live: LiveRequest, stop: int) -> None:
    """What is found in the cache is added to what was found before, which it holds already."""
    live.cached_tokens += stop
    live.skip(stop)


FAULTS = (
    Fault(
        id="F10-15",
        reference="sglang#25972",
        summary="tokens found in the prefix cache are counted twice",
        invariant="7: usage is counted the same everywhere; cached tokens are at most the prompt's",
        replaces={"skip": count_twice},
        acts_when="the prefix cache is hit",
        toggles=("prefix_cache=on",),
    ),
    Fault(
        id="F2-19",
        reference="DMI#67",
        summary="rows of a step are given to requests in another order than they ran in",
        invariant="17: no request touches another's rows or logits",
        replaces={"sampling_order": order_of_arrival},
        acts_when="an older request ends its prompt beside a younger one that generates",
    ),
    Fault(
        id="F5-05",
        reference="vllm#31857",
        summary="requests that wait hold encoder rows",
        invariant="14: progress; waiting requests hold nothing",
        replaces={"admits": pin_before_blocks_are_free},
        acts_when="a request with an image has to wait for blocks",
    ),
    Fault(
        id="F5-07",
        reference="vllm#47738",
        summary="a chunk is rounded down to whole blocks, and so to nothing",
        invariant="14: every step schedules a token or ends a request",
        replaces={"chunk_length": whole_blocks_only},
        acts_when="chunked_prefill is smaller than a block",
        toggles=("chunked_prefill=7", "block_size=8"),
    ),
)
