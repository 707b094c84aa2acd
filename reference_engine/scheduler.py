"""Who runs, and how much of each prompt, in the next step.

First come, first served. A request is admitted when a lane and every block it can ever need are free, so whatever was
admitted finishes without taking anything back; what does not fit waits, and nothing overtakes it. Each step takes one
token of every request that is generating, then prompt tokens as far as the budget goes. A chunk may end anywhere,
inside an image too.

Progress: while anything runs, a step schedules at least one token.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from reference_engine.config import EngineConfig
from reference_engine.kv_cache import KVCache
from reference_engine.live_request import LiveRequest, cached_tokens


@dataclass(frozen=True)
class Chunk:
    """Tokens ``start`` to ``stop`` - 1 of a live, to be computed in this step."""

    live: LiveRequest
    start: int
    stop: int

    @property
    def is_decode(self) -> bool:
        return self.start >= self.live.prompt_length

    @property
    def samples(self) -> bool:
        """Whether the step yields a new token: the chunk reaches the end of what is known."""
        return self.stop == self.live.length


class Scheduler:
    def __init__(self, config: EngineConfig, cache: KVCache) -> None:
        self.config = config
        self.cache = cache
        self.waiting: deque[LiveRequest] = deque()
        self.running: list[LiveRequest] = []

    def admit(self) -> list[LiveRequest]:
        """Move requests from waiting to running, in order, while the next one fits. Returns the newly admitted."""
        admitted = []
        while self.waiting and len(self.running) < self.config.max_batch_size:
            live = self.waiting[0]
            tokens = cached_tokens(live.prompt_length, live.request.sampling.max_new_tokens)
            if not self.cache.fits(tokens):
                break
            live.lane = self.cache.open(tokens)
            self.running.append(self.waiting.popleft())
            admitted.append(live)
        return admitted

    def schedule(self) -> list[Chunk]:
        """The next step: decoding requests first, then prompt chunks in order of admission."""
        decoding = [Chunk(s, s.computed, s.length) for s in self.running if s.is_prefilled]
        return decoding + list(self._prompt_chunks(s for s in self.running if not s.is_prefilled))

    def _prompt_chunks(self, filling: Iterable[LiveRequest]) -> Iterable[Chunk]:
        """With ``chunked_prefill`` n: n prompt tokens a step, cut anywhere. With 0: whole prompts, as many as
        ``max_prompt_tokens`` holds (one always fits), so that a burst of arrivals cannot blow up a step."""
        may_cut = self.config.chunked_prefill > 0
        room = self.config.chunked_prefill if may_cut else self.config.max_prompt_tokens
        for live in filling:
            left = live.prompt_length - live.computed
            if room == 0 or (left > room and not may_cut):
                return
            taken = min(left, room)
            room -= taken
            yield Chunk(live, live.computed, live.computed + taken)

    def remove(self, live: LiveRequest, *, scrub: bool = False) -> None:
        """Take a request out, wherever it is, and give its blocks back."""
        if live.lane is None:
            self.waiting.remove(live)
            return
        self.running.remove(live)
        self.cache.close(live.lane, scrub=scrub)
        live.lane = None
