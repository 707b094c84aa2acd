"""The block pool and the table: nothing is lost, shared or freed twice."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reference_engine.block_pool import BlockLeak, BlockPool
from reference_engine.kv_cache import KVCache


def cache(blocks: int = 8, block_size: int = 4, lanes: int = 3) -> KVCache:
    return KVCache(
        layers=2, heads=1, width=2, blocks=blocks, block_size=block_size, lanes=lanes, longest=64,
        dtype=torch.float32, device="cpu",
    )  # fmt: skip


def test_slots_of_a_lane_are_its_blocks_in_order() -> None:
    kv = cache()
    kv.open(4)
    lane = kv.open(10)
    assert kv.slots(lane, 0, 10).tolist() == list(range(4, 14))
    assert kv.slots(lane, 3, 5).tolist() == [7, 8]
    assert kv.last_slots(torch.tensor([lane, lane]), torch.tensor([1, 10])).tolist() == [4, 13]
    assert kv.block_table([lane], 10).tolist() == [[1, 2, 3]]


def test_past_its_end_a_lane_points_at_itself() -> None:
    kv = cache()
    kv.open(8)
    lane = kv.open(3)
    assert kv.block_table([lane], 16).tolist() == [[2, 2, 2, 2]]


def test_lanes_share_their_beginning_and_grow_apart() -> None:
    kv = cache()
    first = kv.open(8)
    second = kv.open(9, shared=kv.lanes[first])
    assert kv.block_table([first, second], 12).tolist() == [[0, 1, 0], [0, 1, 2]]
    assert (kv.lacks(first, 9), kv.lacks(second, 12)) == (1, 0)
    kv.grow(first, 12)
    assert kv.slots(first, 7, 9).tolist() == [7, 12]
    kv.close(first)
    assert kv.pool.free == 5
    kv.check()


def test_adopting_gives_own_blocks_back() -> None:
    kv = cache()
    first, second = kv.open(8), kv.open(11)
    kv.adopt(second, 0, kv.lanes[first][:1])
    assert kv.block_table([second], 16).tolist() == [[0, 3, 4, 0]]
    assert kv.pool.free == 4
    kv.check()


def test_scrubbing_spares_what_others_own_but_nobody_finds_it_again() -> None:
    kv = cache()
    first = kv.open(8)
    kv.pool.publish(kv.lanes[first][0], b"key")
    second = kv.open(4, shared=kv.pool.find([b"key"]))
    kv.keys_NKSHD.fill_(1)
    kv.close(first, scrub=True)
    assert kv.keys_NKSHD[0, :3, 0, 0, 0].tolist() == [1, 0, 1]
    assert kv.pool.find([b"key"]) == []
    kv.close(second)
    kv.check_idle()


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 20)), max_size=60))
def test_blocks_are_owned_once(actions: list[tuple[bool, int]]) -> None:
    kv = cache()
    lanes: dict[int, int] = {}
    for opens, number in actions:
        if opens and kv.fits(number):
            lanes[kv.open(number)] = number
        elif not opens and lanes:
            lane = sorted(lanes)[number % len(lanes)]
            kv.close(lane)
            del lanes[lane]
        slots = [slot for lane, tokens in lanes.items() for slot in kv.slots(lane, 0, tokens).tolist()]
        assert len(slots) == len(set(slots))
        assert kv.pool.free == kv.pool.total - sum(kv.blocks_for(tokens) for tokens in lanes.values())
    for lane in lanes:
        kv.close(lane)
    kv.check_idle()


def test_leaks_and_double_frees_are_found() -> None:
    kv = cache()
    kv.open(5)
    with pytest.raises(BlockLeak, match="2 blocks in lanes"):
        kv.check_idle()
    pool = BlockPool(3)
    blocks = pool.allocate(2)
    pool.release(blocks)
    with pytest.raises(BlockLeak, match="freed twice"):
        pool.release(blocks[:1])
    with pytest.raises(ValueError, match="4 blocks asked for, 3 free"):
        pool.allocate(4)


def test_scrubbing_zeroes_what_the_next_owner_will_read_masked() -> None:
    kv = cache()
    lane = kv.open(5)
    kv.keys_NKSHD[:, :2] = float("nan")
    kv.close(lane, scrub=True)
    assert kv.keys_NKSHD.isfinite().all()
