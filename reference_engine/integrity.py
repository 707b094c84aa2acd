"""Do all books agree? What the scheduler believes of every request, what the pool, the table and the caches hold.

For tests after every step, and for hunting a bug (``check_every_step``); it costs a pass over the pool. Never repairs
anything.
"""

from __future__ import annotations

from itertools import pairwise

from reference_engine.block_pool import BlockLeak
from reference_engine.live_request import LiveRequest
from reference_engine.scheduler import Scheduler


def check_scheduler(scheduler: Scheduler) -> None:
    """Raise :class:`BlockLeak` naming the first thing that is not as it must be between two steps."""
    cache, running = scheduler.cache, scheduler.running
    cache.check()
    lanes = [live.lane for live in running]
    if sorted(cache.lanes) != sorted(lane for lane in lanes if lane is not None) or None in lanes:
        raise BlockLeak(f"lanes {sorted(cache.lanes)} are open but {lanes} run")
    for live in running:
        _check_running(scheduler, live)
    for live in scheduler.waiting:
        if live.lane is not None or live.computed or live.pins or live.image_rows_RD is not None:
            raise BlockLeak(f"request {live.id} waits but holds something")
    scheduler.rows.check(entry for live in running for entry in live.pins.values())
    for queue in (running, list(scheduler.waiting)):
        if any(a.turn >= b.turn for a, b in pairwise(queue)):
            raise BlockLeak(f"requests {[live.id for live in queue]} are not in order of arrival")
    if len(running) > scheduler.config.max_batch_size:
        raise BlockLeak(f"{len(running)} requests run; at most {scheduler.config.max_batch_size}")


def _check_running(scheduler: Scheduler, live: LiveRequest) -> None:
    cache = scheduler.cache
    assert live.lane is not None
    blocks = cache.lanes[live.lane]
    if not 0 <= live.computed < live.length or live.computed > len(blocks) * cache.block_size:
        raise BlockLeak(f"request {live.id}: {live.computed} of {live.length} tokens computed, {len(blocks)} blocks")
    written = live.computed // cache.block_size
    shared = [place for place, block in enumerate(blocks) if place >= written and cache.pool.owners[block] > 1]
    if shared:
        raise BlockLeak(f"request {live.id} shares its block {shared[0]} before it is full")
