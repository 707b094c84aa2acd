"""Keys of KV blocks, so that a prompt finds what an earlier one with the same beginning left behind.

A block's key covers its own tokens and, through the key before it, all tokens before them. Where an image stands, the
ids count as the image's *pad value*, made from its content key: never as the placeholder, which is the same for every
image (sglang-omni#258). An image therefore changes the keys from the block of its first token on, and none before.

Keys to store under and keys to look up come from the same chain (TensorRT-LLM#12472).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from reference_engine.block_pool import BlockPool

ID_BYTES = 33
"""Of one id as it is hashed: a pad value has 257 bits."""


def pad_value(content_key: bytes) -> int:
    """The whole 32-byte key as a number above every token id (LMCache#3301 kept 16 bits of it)."""
    return 1 << 256 | int.from_bytes(content_key, "little")


def block_key(before: bytes, ids: Sequence[int]) -> bytes:
    """Key of one full block, given the key of the block before it (empty for the first)."""
    return hashlib.sha256(before + b"".join(i.to_bytes(ID_BYTES, "little") for i in ids)).digest()


@dataclass
class KeyChain:
    """Keys of the full blocks of one request; grows with its tokens."""

    block_size: int
    keys: list[bytes] = field(default_factory=list)
    tail: list[int] = field(default_factory=list)
    """Ids after the last full block."""

    def extend(self, padded_ids: Iterable[int]) -> None:
        self.tail += padded_ids
        full = len(self.tail) // self.block_size * self.block_size
        for first in range(0, full, self.block_size):
            before = self.keys[-1] if self.keys else b""
            self.keys.append(block_key(before, self.tail[first : first + self.block_size]))
        del self.tail[:full]

    def copy(self) -> KeyChain:
        return KeyChain(self.block_size, list(self.keys), list(self.tail))


def cached_prefix(pool: BlockPool, chain: KeyChain, length: int) -> list[int]:
    """Blocks that hold the beginning of a request of ``length`` tokens already.

    At least its last token is left to compute, since an answer needs its logits (nano-vllm#144).
    """
    return pool.find(chain.keys[: (length - 1) // chain.block_size])
