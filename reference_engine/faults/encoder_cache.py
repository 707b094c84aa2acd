"""Faults of keeping, sharing and laying encoder rows."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Iterable, Mapping, Sequence

import torch
from torch import Tensor

from reference_engine import encoder_cache as clean
from reference_engine.encoder_cache import EncoderCache, Entry
from reference_engine.faults.catalogue import Fault
from reference_engine.multimodal import content_key as clean_key
from reference_engine.multimodal.prompt import PreparedItem
from reference_engine.vision import span_lengths

INJECTIVE = "4: cache keys are injective on bytes, shape, dtype, mode and every resolved option"


def key_of_one_byte(tensors: Mapping[str, Tensor], grids: Sequence[Sequence[int]], options: str) -> bytes:
    return clean_key.content_key(tensors, grids, options)[:1] * 32


def key_of_bytes_only(tensors: Mapping[str, Tensor], grids: Sequence[Sequence[int]], options: str) -> bytes:
    """Neither shape nor grid counts; whole numbers beside the pixels are grids."""
    return clean_key.content_key(
        {name: t.flatten() for name, t in tensors.items() if t.is_floating_point()}, [], options
    )


def key_without_options(tensors: Mapping[str, Tensor], grids: Sequence[Sequence[int]], options: str) -> bytes:
    return clean_key.content_key(tensors, grids, "")


def key_of_a_beginning(tensors: Mapping[str, Tensor], grids: Sequence[Sequence[int]], options: str) -> bytes:
    return clean_key.content_key({name: t.flatten()[:250] for name, t in tensors.items()}, grids, options)


def key_of_a_slot(tensors: Mapping[str, Tensor], grids: Sequence[Sequence[int]], options: str) -> bytes:
    """Whatever image is in it, a slot of this shape is the same slot."""
    return hashlib.sha256(repr(grids).encode() + options.encode()).digest()


def nothing_after_any_hit(items: Sequence[PreparedItem], computed: int) -> int:
    """Any hit in the prefix cache skips the encoder."""
    return len(items) if computed else 0


def count_first_span(item: PreparedItem) -> int:
    return span_lengths(item.spans)[0]


def always_pending(entry: Entry) -> bool:
    return True


def window_from_the_first_row(places_R: Tensor, first: int, start: int, stop: int) -> tuple[slice, slice]:
    """Which part of an image was computed before is not remembered: rows are laid from the first one again."""
    low, high = torch.searchsorted(places_R, torch.tensor([start, stop])).tolist()
    return slice(low, high), slice(0, high - low)


def keep_pins(cache: EncoderCache, entries: Iterable[Entry]) -> None:
    """Rows are given back by those who finish, and by nobody else."""


def key_of_two_bytes(tensors: Mapping[str, Tensor], grids: Sequence[Sequence[int]], options: str) -> bytes:
    """Wider than one byte, and still found without a look at the content."""
    return clean_key.content_key(tensors, grids, options)[:2] * 16


def entry_of_a_request(item: PreparedItem, request_id: str, keep: bool) -> Hashable:
    """With the cache off, an item has no name of its own."""
    return clean.entry_key(item, request_id, keep) if keep else (request_id, tuple(span_lengths(item.spans)))


def drop_any(entry: Entry) -> bool:
    """The scheduler counts on rows that the cache has let go."""
    return True


def keep_rows(cache: EncoderCache) -> None:
    """Of two caches, the other one is cleared."""


FAULTS = (
    Fault(
        id="F2-01",
        reference="sglang#36595",
        summary="content keys keep few bits of the digest (8 here, 64 there)",
        invariant=INJECTIVE,
        replaces={"content_key": key_of_one_byte},
        acts_when="two images share those bits",
    ),
    Fault(
        id="F2-04",
        reference="dynamo#8340",
        summary="content keys leave out shape and grid",
        invariant=INJECTIVE,
        replaces={"content_key": key_of_bytes_only},
        acts_when="images of other proportions have equal bytes",
    ),
    Fault(
        id="F2-05",
        reference="vllm#49975",
        summary="content keys leave out the processing options",
        invariant=INJECTIVE,
        replaces={"content_key": key_without_options},
        acts_when="options differ between items of equal tensors",
    ),
    Fault(
        id="F2-07",
        reference="vllm-mlx#197",
        summary="content keys cover the first 1,000 bytes",
        invariant=INJECTIVE,
        replaces={"content_key": key_of_a_beginning},
        acts_when="two images begin alike",
    ),
    Fault(
        id="fix-wider-hash",
        reference="a wrong mending of sglang#36595",
        summary="content keys keep more bits of the digest (16), and the content is not looked at",
        invariant=INJECTIVE,
        replaces={"content_key": key_of_two_bytes},
        acts_when="two images share those bits",
    ),
    Fault(
        id="F2-11",
        reference="fastllm#750",
        summary="any hit in the prefix cache skips the encoder",
        invariant="11: cache warmth does not change greedy output",
        replaces={"first_ahead": nothing_after_any_hit},
        acts_when="prefix_cache=on and text before an image was seen before",
    ),
    Fault(
        id="F2-17",
        reference="llama-cpp-python (JamePeng)#90",
        summary="rows are cached by slot, not by image",
        invariant=INJECTIVE,
        replaces={"content_key": key_of_a_slot},
        acts_when="a second image of a size comes",
        analogue=True,
    ),
    Fault(
        id="F5-03",
        reference="vllm#46747",
        summary="rows are dropped that a running request counts on",
        invariant="13: the scheduler's view of a cache equals the worker's after each step",
        replaces={"unpinned": drop_any},
        acts_when="encoder_rows are short",
        analogue=True,
    ),
    Fault(
        id="F5-04",
        reference="verl#7067",
        summary="flushing clears one cache of two: encoder rows stay",
        invariant="13: all counters return to baseline",
        replaces={"flush_rows": keep_rows},
        acts_when="the caches are flushed",
        toggles=("encoder_cache=on",),
    ),
    Fault(
        id="F5-08",
        reference="vllm#12545",
        summary="encoder rows are not given back on abort or preemption",
        invariant="13: all counters return to baseline after finish, abort, preemption, crash",
        replaces={"unpin_removed": keep_pins},
        acts_when="a request ends before its images are laid",
    ),
    Fault(
        id="F5-09",
        reference="vllm#34483",
        summary="the encoder budget underestimates an item: only its first span is counted",
        invariant="14: nothing larger than a budget is admitted",
        replaces={"count_rows": count_first_span},
        acts_when="an item has several spans",
        families="several spans an item",
    ),
    Fault(
        id="F5-13",
        reference="sglang#19474 (and vllm#49259)",
        summary="all images of a prompt are encoded again for every chunk",
        invariant="18: no repeated encode",
        replaces={"is_pending": always_pending},
        acts_when="a prompt with an image takes several chunks",
        toggles=("chunked_prefill",),
    ),
    Fault(
        id="F10-11",
        reference="vllm#56432",
        summary="with the encoder cache off, images of one size in a request have one name",
        invariant="11: cache settings do not change greedy output",
        replaces={"entry_key": entry_of_a_request},
        acts_when="a request has two images of one size",
        toggles=("encoder_cache=off",),
    ),
    Fault(
        id="F5-17",
        reference="llama.cpp#24681 (and sglang#8366)",
        summary="a prompt that goes on lays its image rows from the first one again",
        invariant="12: every per-token side tensor is cut by the same window",
        replaces={"image_window": window_from_the_first_row},
        acts_when="a chunk starts inside an image or after one",
        analogue=True,
    ),
)
