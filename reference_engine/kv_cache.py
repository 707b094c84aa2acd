"""Paged keys and values: a pool of fixed-size blocks, and a table that says which blocks hold a request, in order.

A request opens a *lane* (one row of the table) with every block it can ever need, so that a request which was admitted
can always finish; it waits for admission instead. Closing the lane returns the blocks. When nothing runs, all blocks
are free: :meth:`KVCache.check_idle` says so or raises.

Shapes: N layers, K blocks, S tokens a block, H key/value heads, D head width, T tokens, B requests.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class BlockLeak(RuntimeError):
    """Blocks were freed twice, or were not all free when nothing ran: a bug of the engine, never of a request."""


class BlockPool:
    """A free list. Hands out lowest numbers first from a fresh pool."""

    def __init__(self, total: int) -> None:
        self.total = total
        self._free = list(reversed(range(total)))
        self._is_free = bytearray(b"\x01") * total

    @property
    def free(self) -> int:
        return len(self._free)

    def allocate(self, count: int) -> list[int]:
        if count > self.free:
            raise ValueError(f"{count} blocks asked for, {self.free} free")
        blocks = [self._free.pop() for _ in range(count)]
        for block in blocks:
            self._is_free[block] = 0
        return blocks

    def release(self, blocks: Sequence[int]) -> None:
        for block in blocks:
            if self._is_free[block]:
                raise BlockLeak(f"block {block} is freed twice")
            self._is_free[block] = 1
            self._free.append(block)


class KVCache:
    """Keys and values of all layers, the pool behind them and the table of running requests."""

    def __init__(
        self, *, layers: int, heads: int, width: int, blocks: int, block_size: int, lanes: int, longest: int,
        dtype: torch.dtype, device: str,
    ) -> None:  # fmt: skip
        self.block_size = block_size
        self.pool = BlockPool(blocks)
        self.keys_NKSHD = torch.zeros(layers, blocks, block_size, heads, width, dtype=dtype, device=device)
        self.values_NKSHD = torch.zeros_like(self.keys_NKSHD)
        self._table = torch.zeros(lanes, min(blocks, self.blocks_for(longest)), dtype=torch.int64)
        self._free_lanes = list(reversed(range(lanes)))
        self._blocks: dict[int, list[int]] = {}

    def blocks_for(self, tokens: int) -> int:
        return -(-tokens // self.block_size)

    @property
    def device(self) -> torch.device:
        """Where keys and values are; the table stays on the CPU."""
        return self.keys_NKSHD.device

    def fits(self, tokens: int) -> bool:
        """Whether a lane for ``tokens`` tokens can be opened now."""
        return bool(self._free_lanes) and self.blocks_for(tokens) <= self.pool.free

    def open(self, tokens: int) -> int:
        """A lane with room for ``tokens`` tokens."""
        blocks = self.pool.allocate(self.blocks_for(tokens))
        lane = self._free_lanes.pop()
        self._blocks[lane] = blocks
        self._table[lane] = blocks[0]  # past its end a lane points at itself: masked reads never touch another request
        self._table[lane, : len(blocks)] = torch.tensor(blocks)
        return lane

    def close(self, lane: int, *, scrub: bool = False) -> None:
        """Give the blocks back. ``scrub`` zeroes them first: a masked NaN is still a NaN to the next owner."""
        blocks = self._blocks.pop(lane)
        if scrub:
            self.keys_NKSHD[:, blocks] = 0
            self.values_NKSHD[:, blocks] = 0
        self.pool.release(blocks)
        self._free_lanes.append(lane)

    def check_idle(self) -> None:
        """Raise :class:`BlockLeak` unless every block is free."""
        if self._blocks or self.pool.free != self.pool.total:
            raise BlockLeak(
                f"{self.pool.total - self.pool.free} blocks in lanes {sorted(self._blocks)} with nothing running"
            )

    def slots(self, lane: int, start: int, stop: int) -> Tensor:
        """Where tokens ``start`` to ``stop - 1`` of a lane live: int64 [T] into the blocks laid end to end."""
        places_T = torch.arange(start, stop)
        return self._table[lane, places_T // self.block_size] * self.block_size + places_T % self.block_size

    def last_slots(self, lanes_B: Tensor, lengths_B: Tensor) -> Tensor:
        """Where the last token of each lane lives, given lengths that count it: int64 [B]."""
        last_B = lengths_B - 1
        return self._table[lanes_B, last_B // self.block_size] * self.block_size + last_B % self.block_size

    def block_table(self, lanes: Sequence[int] | Tensor, longest: int) -> Tensor:
        """Blocks of each lane, in order, wide enough for ``longest`` tokens: int64 [B, blocks]."""
        return self._table[lanes, : self.blocks_for(longest)]
