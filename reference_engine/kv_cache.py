"""Paged keys and values: fixed-size blocks, and a table that says which blocks hold a request, in order.

A request opens a *lane* (one row of the table) with the blocks of what is known of it, and grows it as tokens come.
The first blocks of a lane may be shared with other lanes; they are full, and nothing is ever written to them again, so
sharing copies nothing. Closing the lane gives the blocks back. When nothing runs no block is owned:
:meth:`KVCache.check_idle` says so or raises.

Shapes: N layers, K blocks, S tokens a block, H key/value heads, D head width, T tokens, B requests; C = K * S places.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from reference_engine.block_pool import BlockLeak, BlockPool


class LayerCache(NamedTuple):
    """One layer's share of the pages, as blocks and as places end to end: views, made once."""

    keys_KSHD: Tensor
    values_KSHD: Tensor
    keys_CHD: Tensor
    values_CHD: Tensor

    def write(self, slots_T: Tensor, k_THD: Tensor, v_THD: Tensor) -> None:
        self.keys_CHD.index_copy_(0, slots_T, k_THD)
        self.values_CHD.index_copy_(0, slots_T, v_THD)


class KVCache:
    """Keys and values of all layers, the pool behind them and the table of running requests."""

    def __init__(
        self, *, layers: int, heads: int, width: int, blocks: int, block_size: int, lanes: int, longest: int,
        dtype: torch.dtype, device: str, value_width: int | None = None,
    ) -> None:  # fmt: skip
        """``value_width`` where values are not as wide as keys (multi-head latent attention)."""
        self.block_size = block_size
        self.pool = BlockPool(blocks)
        self.keys_NKSHD = torch.zeros(layers, blocks + 1, block_size, heads, width, dtype=dtype, device=device)
        self.values_NKSHD = self.keys_NKSHD.new_zeros(*self.keys_NKSHD.shape[:-1], value_width or width)
        both = (self.keys_NKSHD, self.values_NKSHD)
        self.layers = [
            LayerCache(*views)
            for views in zip(*both, *(pages_NKSHD.flatten(1, 2) for pages_NKSHD in both), strict=True)
        ]
        self._table = torch.zeros(lanes + 1, min(blocks, self.blocks_for(longest)), dtype=torch.int64)
        self.scratch_lane = lanes
        """A lane that is no request's: every position is in one block, the last, which the pool does not have."""
        self._table[lanes] = blocks
        self._free_lanes = list(reversed(range(lanes)))
        self.lanes: dict[int, list[int]] = {}
        """Open lanes, and the blocks of each in order."""

    def blocks_for(self, tokens: int) -> int:
        return -(-tokens // self.block_size)

    @property
    def table_width(self) -> int:
        """Most blocks a lane can have."""
        return self._table.shape[1]

    @property
    def device(self) -> torch.device:
        """Where keys and values are; the table stays on the CPU."""
        return self.keys_NKSHD.device

    def fits(self, tokens: int, shared: Sequence[int] = ()) -> bool:
        """Whether a lane for ``tokens`` tokens, beginning with the ``shared`` blocks, can be opened now."""
        free = self.pool.free - self.pool.count_kept(shared)
        return bool(self._free_lanes) and self.blocks_for(tokens) - len(shared) <= free

    def open(self, tokens: int, shared: Sequence[int] = ()) -> int:
        """A lane with room for ``tokens`` tokens (at least one), beginning with ``shared`` blocks."""
        self.pool.share(shared)
        blocks = [*shared, *self.pool.allocate(self.blocks_for(tokens) - len(shared))]
        lane = self._free_lanes.pop()
        self.lanes[lane] = blocks
        self._table[lane] = blocks[0]  # past its end a lane points at itself: masked reads never touch another request
        self._table[lane, : len(blocks)] = torch.tensor(blocks)
        return lane

    def lacks(self, lane: int, tokens: int) -> int:
        """Blocks that a lane still needs to hold ``tokens`` tokens."""
        return max(0, self.blocks_for(tokens) - len(self.lanes[lane]))

    def grow(self, lane: int, tokens: int) -> None:
        """Give a lane the blocks it lacks."""
        lacking = self.lacks(lane, tokens)
        if lacking:
            held = self.lanes[lane]
            held += self.pool.allocate(lacking)
            self._table[lane, len(held) - lacking : len(held)] = torch.tensor(held[-lacking:])

    def adopt(self, lane: int, first: int, blocks: Sequence[int]) -> None:
        """Put shared blocks in the place of a lane's own, from its block ``first`` on."""
        held = self.lanes[lane]
        place = slice(first, first + len(blocks))
        self.pool.share(blocks)
        self.pool.release(held[place])
        held[place] = blocks
        self._table[lane, len(held) :] = held[0]
        self._table[lane, : len(held)] = torch.tensor(held)

    def close(self, lane: int, *, scrub: bool = False) -> None:
        """Give the blocks back. ``scrub`` forgets them, and zeroes those that nobody else owns: a masked NaN is still a
        NaN to the next owner.
        """
        blocks = self.lanes.pop(lane)
        if scrub:
            self.pool.forget(blocks)
            own = [block for block in blocks if self.pool.owners[block] == 1]
            self.zero(own)
        self.pool.release(blocks)
        self._free_lanes.append(lane)

    def zero(self, blocks: Sequence[int]) -> None:
        self.keys_NKSHD[:, blocks] = 0
        self.values_NKSHD[:, blocks] = 0

    def check_idle(self) -> None:
        """Raise :class:`BlockLeak` unless no lane is open and no block owned."""
        if self.lanes or self.pool.free != self.pool.total:
            raise BlockLeak(
                f"{self.pool.total - self.pool.free} blocks in lanes {sorted(self.lanes)} with nothing running"
            )

    def check(self) -> None:
        """Raise :class:`BlockLeak` unless pool, lanes and table say the same."""
        self.pool.check([block for blocks in self.lanes.values() for block in blocks])
        for lane, blocks in self.lanes.items():
            if self._table[lane, : len(blocks)].tolist() != blocks:
                raise BlockLeak(f"lane {lane} holds blocks {blocks} but the table says otherwise")

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

    def copy_rows(self, lanes: Sequence[int], table_BK: Tensor) -> None:
        """Take over the beginning of rows of the table of a cache in another process, which alone allocates blocks."""
        self._table[lanes, : table_BK.shape[1]] = table_BK
