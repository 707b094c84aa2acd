"""The scheduler's small decisions, as functions of what they look at and nothing else."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Protocol, TypeVar

from reference_engine.encoder_cache import EncoderCache
from reference_engine.kv_cache import KVCache
from reference_engine.multimodal.prompt import PreparedItem
from reference_engine.request import StepOutput


class Samples(Protocol):
    @property
    def samples(self) -> bool: ...


C = TypeVar("C", bound=Samples)
L = TypeVar("L")


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


def enqueue(waiting: deque[L], live: L) -> None:
    """At the end of those waiting. Nobody is turned away here: every request ends with an answer."""
    waiting.append(live)


def step_outputs(outputs: list[StepOutput]) -> list[StepOutput]:
    """What a step did, as it is told: every id and every piece of text, whatever else came with it."""
    return outputs
