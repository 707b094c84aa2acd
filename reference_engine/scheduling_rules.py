"""The scheduler's small decisions, as functions of what they look at and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

from reference_engine.encoder_cache import EncoderCache
from reference_engine.kv_cache import KVCache
from reference_engine.multimodal.prompt import PreparedItem


class Samples(Protocol):
    @property
    def samples(self) -> bool: ...


C = TypeVar("C", bound=Samples)


def admits(
    cache: KVCache, rows: EncoderCache, length: int, shared: Sequence[int], items: Sequence[PreparedItem], request: str
) -> bool:
    """Whether blocks and encoder rows for a request that waits are free. Takes nothing: who waits holds nothing."""
    return cache.fits(length, shared) and rows.fits(items, request)


def chunk_length(left: int, room: int, block_size: int) -> int:
    """Tokens of a prompt that the step takes: never none while there is room (vllm#47738). ``block_size`` need not
    divide it.
    """
    return min(left, room)


def sampling_order(chunks: Sequence[C]) -> list[C]:
    """Whose logits the rows of a step are: the chunks that sample, in the order in which they ran."""
    return [chunk for chunk in chunks if chunk.samples]
