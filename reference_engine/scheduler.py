"""Who runs, and how much of each prompt, in the next step.

First come, first served. A request is admitted when a lane and the blocks of all that is known of it are free; what
does not fit waits, and nothing overtakes it. Blocks for what it generates are given out token by token. When none is
left, the youngest request is *preempted*: it gives its blocks back and returns to its place among those waiting, with
its output kept, to be computed again as if it were a longer prompt. The oldest is never preempted for another, and a
request that could not run alone in the whole pool is refused before it gets here.

Full blocks of a prompt's beginning that are in the cache are shared, not computed; only what follows them is. A request
whose beginning an older one is just computing waits for that, if it saves at least half of its work. Encoder rows of
images are pinned from admission until they are laid (:mod:`~reference_engine.encoder_cache`), within their own budget.

Each step takes one token of every request that is generating, then prompt tokens as far as the budget goes. A chunk may
end anywhere, inside an image too.

Progress: while anything runs, a step schedules at least one token.
"""

from __future__ import annotations

from bisect import insort
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import count
from typing import NamedTuple

from reference_engine.config import EngineConfig
from reference_engine.encoder_cache import EncoderCache
from reference_engine.faults.seams import CLEAN, Seams
from reference_engine.kv_cache import KVCache
from reference_engine.live_request import LiveRequest


class Chunk(NamedTuple):
    """Tokens ``start`` to ``stop`` - 1 of a live, to be computed in this step."""

    live: LiveRequest
    start: int
    stop: int

    @property
    def is_decode(self) -> bool:
        """One generated token: it joins the batched call of its kind, also when it is computed for a second time."""
        return self.start >= self.live.prompt_length and self.stop - self.start == 1

    @property
    def samples(self) -> bool:
        """Whether the step yields a new token: the chunk reaches the end of what is known."""
        return self.stop == self.live.length


class Scheduler:
    def __init__(self, config: EngineConfig, cache: KVCache, seams: Seams = CLEAN) -> None:
        self.config = config
        self.cache = cache
        self.rows = EncoderCache(
            config.encoder_rows,
            keep=config.encoder_cache,
            count=seams.count_rows,
            name=seams.entry_key,
            may_go=seams.unpinned,
        )
        self.seams = seams
        self.waiting: deque[LiveRequest] = deque()
        self.running: list[LiveRequest] = []
        """Both in order of arrival."""
        self.preemptions = 0
        self._turns = count()

    def add(self, live: LiveRequest) -> None:
        """To the end of those waiting."""
        live.turn = next(self._turns)
        self.seams.enqueue(self.waiting, live)

    def admit(self) -> list[LiveRequest]:
        """Blocks for the next token of all that run, then requests from waiting to running, in order, while the next
        one fits. Returns the newly admitted.
        """
        self._grow_running()
        for live in self.running:
            self._catch_up(live)
        admitted = []
        while self.waiting and len(self.running) < self.config.max_batch_size:
            live = self.waiting[0]
            shared = self._cached_prefix(live)
            first = self._first_item_to_pin(live, len(shared) * self.cache.block_size)
            items = live.prompt.items[first:]
            if not self.seams.admits(self.cache, self.rows, live.length, shared, items, live.id):
                break
            live.lane = self.cache.open(live.length, shared)
            self.seams.skip(live, len(shared) * self.cache.block_size)
            live.pin(first, [self.rows.pin(item, live.id) for item in items])
            insort(self.running, self.waiting.popleft(), key=_turn)
            admitted.append(live)
        return admitted

    def _grow_running(self) -> None:
        """The oldest first; what is missing is taken from the youngest, which may be the one that asks."""
        lacking = [live for live in self.running if live.lane is not None and self.cache.lacks(live.lane, live.length)]
        for live in lacking:
            while live.lane is not None and self.cache.lacks(live.lane, live.length) > self.cache.pool.free:
                self.preempt(self.running[-1])
            if live.lane is not None:
                self.cache.grow(live.lane, live.length)

    def _first_item_to_pin(self, live: LiveRequest, computed: int) -> int:
        """Images that lie wholly in the cached prefix need no rows; evidence needs those of all, the first time."""
        if live.request.want_evidence and not live.encoded:
            return 0
        return self.seams.first_ahead(live.prompt.items, computed)

    def _cached_prefix(self, live: LiveRequest) -> list[int]:
        return self.seams.cached_prefix(self.cache.pool, live.chain, live.shareable) if live.chain else []

    def _catch_up(self, live: LiveRequest) -> None:
        """Share what others have computed of a request that is still filling since it was admitted."""
        size = self.cache.block_size
        if live.is_generating or live.lane is None:
            return
        first = live.computed // size
        found = self._cached_prefix(live)[first:]
        if found:
            self.cache.adopt(live.lane, first, found)
            self.seams.skip(live, (first + len(found)) * size)

    def schedule(self) -> list[Chunk]:
        """The next step: decoding requests first, then prompt chunks in order of arrival."""
        decoding = [Chunk(s, s.computed, s.length) for s in self.running if s.is_generating]
        filling = list(self._prompt_chunks(s for s in self.running if not s.is_generating and not s.needs_rows))
        return sorted(decoding + filling, key=lambda chunk: not chunk.is_decode)

    def _prompt_chunks(self, filling: Iterable[LiveRequest]) -> Iterator[Chunk]:
        """With ``chunked_prefill`` n: n prompt tokens a step, cut anywhere. With 0: whole prompts, as many as
        ``max_prompt_tokens`` holds, so that a burst of arrivals cannot blow up a step; only a request that comes back
        with more tokens than that is cut."""
        limit = self.config.max_prompt_tokens
        room = budget = min(self.config.chunked_prefill or limit, limit)
        coming: set[bytes] = set()
        for live in filling:
            left = live.length - live.computed
            if 2 * self._mark_coming(live, coming) >= left:
                continue
            if room == 0 or (left > room and not self.config.chunked_prefill and room < budget):
                return
            taken = self.seams.chunk_length(left, room, self.cache.block_size)
            stop = live.prompt.chunk_end(live.computed, live.computed + taken)
            room = max(0, room - (stop - live.computed))
            yield Chunk(live, live.computed, stop)

    def _mark_coming(self, live: LiveRequest, coming: set[bytes]) -> int:
        """Tokens of a filling request that older ones are computing; its own blocks join those ``coming``."""
        size = self.cache.block_size
        ahead = live.chain.keys[live.computed // size : (live.shareable - 1) // size] if live.chain else []
        shared = next((i for i, key in enumerate(ahead) if key not in coming), len(ahead))
        coming.update(ahead)
        return shared * size

    def advance(self, chunk: Chunk) -> None:
        """A chunk was computed: blocks that it filled may be shared from now on."""
        live, size = chunk.live, self.cache.block_size
        live.advance(chunk.stop)
        if live.pins and live.computed >= live.image_end:
            self.rows.unpin(live.drop_rows())
        if live.chain is not None and live.lane is not None:
            for place in range(chunk.start // size, chunk.stop // size):
                self.cache.pool.publish(self.cache.lanes[live.lane][place], live.chain.keys[place])

    def check_idle(self) -> None:
        """Raise :class:`~reference_engine.block_pool.BlockLeak` if anything is held although nothing runs."""
        self.cache.check_idle()
        self.rows.check([])

    def flush(self) -> None:
        """Forget every cached prefix and every kept encoder row, and share nothing more of what runs now."""
        for live in self.running:
            live.chain = None
        self.seams.flush_rows(self.rows)
        self.cache.pool.flush()

    def preempt(self, live: LiveRequest) -> None:
        """Take the blocks of a running request; it waits again, in its place by arrival, its output kept."""
        self._give_back(live)
        live.rewind()
        insort(self.waiting, live, key=_turn)
        self.preemptions += 1

    def remove(self, live: LiveRequest, *, scrub: bool = False) -> None:
        """Take a request out, wherever it is, and give its blocks back."""
        if live.lane is None:
            self.waiting.remove(live)
        else:
            self._give_back(live, scrub=scrub)
            live.lane = None

    def _give_back(self, live: LiveRequest, *, scrub: bool = False) -> None:
        assert live.lane is not None
        self.running.remove(live)
        self.cache.close(live.lane, scrub=scrub)
        self.seams.unpin_removed(self.rows, live.drop_rows())


def _turn(live: LiveRequest) -> int:
    return live.turn
