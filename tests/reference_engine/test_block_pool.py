"""Owners, keys and eviction of KV blocks, against a model of plain sets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference_engine.block_pool import BlockLeak, BlockPool

ACTIONS = st.lists(
    st.tuples(st.sampled_from(["open", "close", "publish", "share", "flush"]), st.integers(0, 30)), max_size=80
)


@given(ACTIONS)
def test_any_use_keeps_the_books(actions: list[tuple[str, int]]) -> None:
    pool, held = BlockPool(8), []
    for action, number in actions:
        if action == "open" and number % 3 <= pool.free:
            held.append(pool.allocate(number % 3))
        elif action == "close" and held:
            pool.release(held.pop(number % len(held)))
        elif action == "publish" and any(held):
            blocks = [block for blocks in held for block in blocks]
            pool.publish(blocks[number % len(blocks)], bytes([number % 5]))
        elif action == "share":
            found = pool.find([bytes([number % 5])])
            pool.share(found)
            held.append(found)
        elif action == "flush":
            pool.flush()
            assert pool.kept == 0
        pool.check([block for blocks in held for block in blocks])
    for blocks in held:
        pool.release(blocks)
    assert pool.free == pool.total


def test_kept_blocks_are_found_until_they_are_needed_the_oldest_going_first() -> None:
    pool = BlockPool(4)
    first, second = pool.allocate(2), pool.allocate(2)
    for i, block in enumerate([*first, *second]):
        pool.publish(block, bytes([i]))
    pool.release(first)
    pool.release(second)
    assert (pool.free, pool.kept) == (4, 4)
    assert pool.allocate(1) == [first[1]], "a chain loses its end before its beginning"
    assert pool.find([b"\0", b"\1"]) == [first[0]]
    assert pool.find([b"\2", b"\3"]) == second
    assert pool.evictions == 1


def test_found_blocks_are_not_evicted_while_somebody_owns_them() -> None:
    pool = BlockPool(2)
    blocks = pool.allocate(1)
    pool.publish(blocks[0], b"a")
    pool.release(blocks)
    pool.share(pool.find([b"a"]))
    assert pool.allocate(1) != blocks
    with pytest.raises(ValueError, match="1 blocks asked for, 0 free"):
        pool.allocate(1)


def test_the_first_block_of_a_key_stays_its_block() -> None:
    pool = BlockPool(2)
    a, b = pool.allocate(2)
    pool.publish(a, b"key")
    pool.publish(b, b"key")
    pool.publish(a, b"another")
    assert pool.find([b"key"]) == [a]
    assert pool.find([b"another"]) == []
    pool.release([b])
    assert pool.kept == 0


def test_freeing_twice_and_wrong_owners_are_found() -> None:
    pool = BlockPool(3)
    blocks = pool.allocate(2)
    with pytest.raises(BlockLeak, match="other owners"):
        pool.check(blocks[:1])
    pool.release(blocks)
    with pytest.raises(BlockLeak, match="freed twice"):
        pool.release(blocks[:1])
