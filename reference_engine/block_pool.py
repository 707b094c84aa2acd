"""Who has which KV block. A block is *owned* by one or more lanes, or *kept*: owned by none, but full of tokens that
are known by a key, so that a later prompt with the same beginning finds it; or *blank*.

Kept blocks are as good as free: when no blank one is left, the one unused for longest is forgotten and handed out.
Owned blocks are never taken away. A block has at most one key and a key at most one block; who computes a prefix that
is known already keeps its own blocks without a key.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence


class BlockLeak(RuntimeError):
    """The books do not agree: a block freed twice, owned by nobody, or left over. A bug of the engine, never of a
    request.
    """


class BlockPool:
    """Numbers only; what is in the blocks is :class:`~reference_engine.kv_cache.KVCache`'s."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.evictions = 0
        self.owners = [0] * total
        self._blank = list(reversed(range(total)))
        self._kept: OrderedDict[int, None] = OrderedDict()
        self._key_of: dict[int, bytes] = {}
        self._block_of: dict[bytes, int] = {}

    @property
    def free(self) -> int:
        """Blocks that can be handed out now: blank or kept."""
        return len(self._blank) + len(self._kept)

    @property
    def kept(self) -> int:
        return len(self._kept)

    def allocate(self, count: int) -> list[int]:
        """``count`` blocks of the caller's own, lowest numbers first from a fresh pool."""
        if count > self.free:
            raise ValueError(f"{count} blocks asked for, {self.free} free")
        blocks = [self._blank.pop() if self._blank else self._evict() for _ in range(count)]
        for block in blocks:
            self.owners[block] = 1
        return blocks

    def _evict(self) -> int:
        block, _ = self._kept.popitem(last=False)
        del self._block_of[self._key_of.pop(block)]
        self.evictions += 1
        return block

    def share(self, blocks: Sequence[int]) -> None:
        """One more owner for blocks that were found by key."""
        for block in blocks:
            self._kept.pop(block, None)
            self.owners[block] += 1

    def release(self, blocks: Sequence[int]) -> None:
        """One owner less. The last ones of a lane are forgotten first: a prefix is of no use without its beginning."""
        for block in reversed(blocks):
            if not self.owners[block]:
                raise BlockLeak(f"block {block} is freed twice")
            self.owners[block] -= 1
            if self.owners[block]:
                continue
            if block in self._key_of:
                self._kept[block] = None
            else:
                self._blank.append(block)

    def publish(self, block: int, key: bytes) -> None:
        """From now on the (full) block is found by its key, unless another is already."""
        if key not in self._block_of and block not in self._key_of:
            self._block_of[key] = block
            self._key_of[block] = key

    def find(self, keys: Sequence[bytes]) -> list[int]:
        """Blocks of the longest known beginning of a chain of keys."""
        blocks: list[int] = []
        for key in keys:
            block = self._block_of.get(key)
            if block is None:
                break
            blocks.append(block)
        return blocks

    def count_kept(self, blocks: Sequence[int]) -> int:
        """How many of them nobody owns."""
        return sum(1 for block in blocks if not self.owners[block])

    def forget(self, blocks: Sequence[int]) -> None:
        """They are found by no key any more. Owners keep them."""
        for block in blocks:
            key = self._key_of.pop(block, None)
            if key is not None:
                del self._block_of[key]
            if block in self._kept:
                del self._kept[block]
                self._blank.append(block)

    def flush(self) -> None:
        """Forget every key."""
        self.forget(list(self._key_of))

    def check(self, owned: Sequence[int]) -> None:
        """Raise :class:`BlockLeak` unless the blocks that lanes hold, as often as they hold them, make up the books."""
        counted = [0] * self.total
        for block in owned:
            counted[block] += 1
        if counted != self.owners:
            wrong = [i for i in range(self.total) if counted[i] != self.owners[i]]
            raise BlockLeak(f"blocks {wrong[:8]} have other owners than the lanes that hold them")
        loose = sorted([*self._blank, *self._kept])
        if loose != [i for i in range(self.total) if not counted[i]]:
            raise BlockLeak(f"{len(loose)} blocks are free or kept but {counted.count(0)} have no owner")
        if set(self._kept) - set(self._key_of) or set(self._blank) & set(self._key_of):
            raise BlockLeak("a kept block has no key, or a blank one has")
        if {key: block for block, key in self._key_of.items()} != self._block_of:
            raise BlockLeak("keys and blocks do not agree")
