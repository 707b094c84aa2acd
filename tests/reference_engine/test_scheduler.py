"""Who runs next, without a model: order of admission, budgets, and what a full pool does."""

from __future__ import annotations

import torch

from reference_engine import EngineConfig, Request, SamplingParams
from reference_engine.detokenizer import NoText, TextStream
from reference_engine.kv_cache import KVCache
from reference_engine.live_request import LiveRequest
from reference_engine.multimodal.mrope import mrope_positions
from reference_engine.multimodal.placing import Placement
from reference_engine.multimodal.prompt import PreparedPrompt
from reference_engine.sampler import Sampled
from reference_engine.scheduler import Scheduler


def scheduler(blocks: int = 64, **settings: int) -> Scheduler:
    config = EngineConfig(block_size=4, num_blocks=blocks, **settings)  # type: ignore[arg-type]
    cache = KVCache(
        layers=1, heads=1, width=2, blocks=blocks, block_size=4, lanes=config.max_batch_size, longest=1024,
        dtype=torch.float32, device="cpu",
    )  # fmt: skip
    return Scheduler(config, cache)


def add(one: Scheduler, *lives: LiveRequest) -> None:
    for each in lives:
        one.add(each)


def live(name: str, length: int, new: int = 1) -> LiveRequest:
    ids = [1] * length
    prompt = PreparedPrompt(ids, [], *mrope_positions(length, [], [], 2), Placement("ids", False, ""))
    return LiveRequest.start(
        Request(name, input_ids=ids, sampling=SamplingParams(max_new_tokens=new)), prompt, TextStream(NoText(), ())
    )


def plan(one: Scheduler) -> list[tuple[str, int, int]]:
    return [(chunk.live.id, chunk.start, chunk.stop) for chunk in one.schedule()]


def run(one: Scheduler) -> list[tuple[str, int, int]]:
    planned = plan(one)
    for chunk in one.schedule():
        chunk.live.advance(chunk.stop)
        if chunk.samples:
            chunk.live.append(Sampled(7, None))
    return planned


def test_whole_prompts_up_to_the_step_limit_and_one_always_fits() -> None:
    one = scheduler(max_prompt_tokens=10)
    add(one, live("a", 6), live("b", 4), live("c", 9))
    one.admit()
    assert run(one) == [("a", 0, 6), ("b", 0, 4)]
    assert run(one) == [("a", 6, 7), ("b", 4, 5), ("c", 0, 9)]


def test_chunks_go_to_the_oldest_first_beside_decoding() -> None:
    one = scheduler(chunked_prefill=5)
    add(one, live("a", 3), live("b", 7))
    one.admit()
    assert run(one) == [("a", 0, 3), ("b", 0, 2)]
    assert run(one) == [("a", 3, 4), ("b", 2, 7)]
    assert run(one) == [("a", 4, 5), ("b", 7, 8)]


def test_nothing_overtakes_a_request_that_waits_for_blocks() -> None:
    one = scheduler(blocks=5)
    large, small = live("large", 12), live("small", 2)
    add(one, live("first", 10), large, small)
    assert [a.id for a in one.admit()] == ["first"]
    assert one.admit() == []
    one.remove(one.running[0])
    assert [a.id for a in one.admit()] == ["large", "small"]


def test_a_request_that_waits_can_be_removed() -> None:
    one = scheduler(max_batch_size=1)
    waiting = live("b", 2)
    add(one, live("a", 2), waiting)
    one.admit()
    one.remove(waiting)
    assert not one.waiting
    one.remove(one.running[0])
    one.cache.check_idle()


def test_blocks_come_as_tokens_do() -> None:
    one = scheduler(blocks=3)
    add(one, live("a", 5, new=8))
    one.admit()
    assert one.cache.pool.free == 1
    for length in range(6, 13):
        run(one)
        one.admit()
        assert one.cache.pool.free == 3 - one.cache.blocks_for(length)


def test_the_youngest_gives_way_and_comes_back_in_its_turn() -> None:
    one = scheduler(blocks=4)
    old, young, third = live("old", 8, new=9), live("young", 8, new=9), live("third", 1)
    add(one, old, young, third)
    one.admit()
    run(one)
    assert [a.id for a in one.admit()] == []
    assert (one.running, list(one.waiting), one.preemptions) == ([old], [young, third], 1)
    assert (young.lane, young.computed, young.length) == (None, 0, 9)
    assert run(one) == [("old", 8, 9)]
    one.remove(old)
    assert [a.id for a in one.admit()] == ["young", "third"]
    assert run(one) == [("young", 0, 9), ("third", 0, 1)]
    assert (young.output_ids, young.chunks) == ([7, 7], 1)


def test_a_request_that_asks_for_blocks_may_itself_be_the_youngest() -> None:
    one = scheduler(blocks=4)
    old, young = live("old", 6, new=9), live("young", 8, new=9)
    add(one, old, young)
    one.admit()
    run(one)
    one.admit()
    assert one.running == [old]


def test_preempted_requests_wait_in_order_of_arrival_and_go_first() -> None:
    one = scheduler()
    lives = [live(name, 3, new=9) for name in "abcd"]
    add(one, *lives)
    one.admit()
    run(one)
    add(one, live("e", 3))
    for place in (2, 0, 1):
        one.preempt(lives[place])
    assert [a.id for a in one.waiting] == ["a", "b", "c", "e"]
    one.admit()
    assert [a.id for a in one.running] == ["a", "b", "c", "d", "e"]
    assert run(one) == [("d", 3, 4), ("a", 0, 4), ("b", 0, 4), ("c", 0, 4), ("e", 0, 3)]


def test_a_longer_request_that_comes_back_is_cut_by_the_step_limit() -> None:
    one = scheduler(max_prompt_tokens=6)
    long = live("long", 6, new=9)
    add(one, long)
    for _ in range(3):
        one.admit()
        run(one)
    one.preempt(long)
    one.admit()
    assert run(one) == [("long", 0, 6)]
    one.admit()
    assert run(one) == [("long", 6, 9)]


def test_a_single_token_of_a_resumed_answer_is_the_right_one() -> None:
    resumed = live("a", 2, new=9)
    for token in (7, 8, 9):
        resumed.append(Sampled(token, None))
    assert resumed.ids(1, 4).tolist() == [1, 7, 8]
    assert resumed.ids(3, 5).tolist() == [8, 9]
    assert resumed.ids(0, 2).tolist() == [1, 1]
