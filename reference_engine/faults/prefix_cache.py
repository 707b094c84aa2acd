"""Faults of sharing KV blocks between prompts."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from reference_engine import prefix_cache as clean
from reference_engine.block_pool import BlockPool
from reference_engine.faults.catalogue import Fault
from reference_engine.multimodal import placeholders
from reference_engine.multimodal.placeholders import Span
from reference_engine.prefix_cache import KeyChain

NARROW = "5: a KV prefix key changes at the first image position when the image changes"


def pad_value_of_one_byte(content_key: bytes) -> int:
    return 1 << 256 | clean.pad_value(content_key) & 0xFF


def ids_as_they_are(ids: Sequence[int], items: Sequence[tuple[Sequence[Span], int]]) -> list[int]:
    """All images stand as the same placeholder."""
    return list(ids)


def one_value_for_all_items(ids: Sequence[int], items: Sequence[tuple[Sequence[Span], int]]) -> list[int]:
    """The list of images is hashed as one: a later image changes the value of an earlier one."""
    listed = hashlib.sha256(repr([value for _, value in items]).encode()).digest()
    return placeholders.build_padded_input_ids(ids, [(spans, clean.pad_value(listed)) for spans, _ in items])


def look_up_by_other_keys(pool: BlockPool, chain: KeyChain, length: int) -> list[int]:
    """Keys to look up are made by another function than keys to store under."""
    other = KeyChain(chain.block_size, [hashlib.sha256(key).digest() for key in chain.keys], chain.tail)
    return clean.cached_prefix(pool, other, length)


def whole_prompt(pool: BlockPool, chain: KeyChain, length: int) -> list[int]:
    """A prompt that fills its blocks may be found to the last token, and nothing is left to compute."""
    return pool.find(chain.keys[: length // chain.block_size])


FAULTS = (
    Fault(
        id="F2-03",
        reference="LMCache#3301",
        summary="an image's pad value keeps few bits of its digest (8 here, 16 there)",
        invariant=NARROW,
        replaces={"pad_value": pad_value_of_one_byte},
        acts_when="two images of a size share those bits, after the same text",
    ),
    Fault(
        id="F2-09",
        reference="sglang-omni#258",
        summary="prefix keys are made from raw token ids",
        invariant=NARROW,
        replaces={"build_padded_input_ids": ids_as_they_are},
        acts_when="prefix_cache=on and another image comes after the same text",
    ),
    Fault(
        id="F2-15",
        reference="TensorRT-LLM#12472",
        summary="blocks are stored under one key and looked up by another",
        invariant="5: store key == lookup key for every block of every prompt",
        replaces={"cached_prefix": look_up_by_other_keys},
        acts_when="prefix_cache=on",
    ),
    Fault(
        id="F2-20",
        reference="sglang#11785",
        summary="one hash stands for the list of a prompt's images",
        invariant="5: item i's key ignores items after i",
        replaces={"build_padded_input_ids": one_value_for_all_items},
        acts_when="prefix_cache=on and a prompt goes on with another image",
    ),
    Fault(
        id="F5-16",
        reference="nano-vllm#144",
        summary="a whole prompt may come from the cache, with no token left to compute",
        invariant="14: every step schedules a token or ends a request",
        replaces={"cached_prefix": whole_prompt},
        acts_when="prefix_cache=on and a prompt ends with its last block",
    ),
)
