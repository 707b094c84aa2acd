"""Who runs next, without a model: order of admission, budgets, and what a full pool does."""

from __future__ import annotations

import torch

from reference_engine import EngineConfig, Request, SamplingParams
from reference_engine.kv_cache import KVCache
from reference_engine.live_request import LiveRequest
from reference_engine.multimodal.mrope import mrope_positions
from reference_engine.multimodal.prompt import Placement, PreparedPrompt
from reference_engine.sampler import Sampled
from reference_engine.scheduler import Scheduler


def scheduler(blocks: int = 64, **settings: int) -> Scheduler:
    config = EngineConfig(block_size=4, num_blocks=blocks, **settings)  # type: ignore[arg-type]
    cache = KVCache(
        layers=1, heads=1, width=2, blocks=blocks, block_size=4, lanes=config.max_batch_size, longest=1024,
        dtype=torch.float32, device="cpu",
    )  # fmt: skip
    return Scheduler(config, cache)


def live(name: str, length: int, new: int = 1) -> LiveRequest:
    ids = [1] * length
    prompt = PreparedPrompt(ids, [], *mrope_positions(length, [], [], 2), Placement("ids", False, ""))
    return LiveRequest.start(Request(name, input_ids=ids, sampling=SamplingParams(max_new_tokens=new)), prompt, [])


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
    one.waiting.extend([live("a", 6), live("b", 4), live("c", 9)])
    one.admit()
    assert run(one) == [("a", 0, 6), ("b", 0, 4)]
    assert run(one) == [("a", 6, 7), ("b", 4, 5), ("c", 0, 9)]


def test_chunks_go_to_the_oldest_first_beside_decoding() -> None:
    one = scheduler(chunked_prefill=5)
    one.waiting.extend([live("a", 3), live("b", 7)])
    one.admit()
    assert run(one) == [("a", 0, 3), ("b", 0, 2)]
    assert run(one) == [("a", 3, 4), ("b", 2, 7)]
    assert run(one) == [("a", 4, 5), ("b", 7, 8)]


def test_nothing_overtakes_a_request_that_waits_for_blocks() -> None:
    one = scheduler(blocks=5)
    large, small = live("large", 12), live("small", 2)
    one.waiting.extend([live("first", 10), large, small])
    assert [a.id for a in one.admit()] == ["first"]
    assert one.admit() == []
    one.remove(one.running[0])
    assert [a.id for a in one.admit()] == ["large", "small"]


def test_a_request_that_waits_can_be_removed() -> None:
    one = scheduler(max_batch_size=1)
    waiting = live("b", 2)
    one.waiting.extend([live("a", 2), waiting])
    one.admit()
    one.remove(waiting)
    assert not one.waiting
    one.remove(one.running[0])
    one.cache.check_idle()


def test_every_block_a_request_can_need_is_reserved() -> None:
    one = scheduler(blocks=3)
    one.waiting.append(live("a", 5, new=8))  # 12 cached tokens at most: the last one generated is never fed back
    assert len(one.admit()) == 1
    assert one.cache.pool.free == 0
