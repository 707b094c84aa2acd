"""Sends sessions as they are planned and gives back what every request met. Errors are part of that, never dropped.

A session is the prompts of one dialogue; each of its later turns is meant to be sent when the one before has ended.
With ``times`` sessions start at these seconds, however slow the server is (open loop); without, ``concurrency``
callers each start the next session when their last one ended (closed loop).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, nullcontext
from itertools import cycle, takewhile
from typing import Any

from harness.load.client import Client
from harness.load.overhead import Watch
from harness.load.timing import Load, Timing
from harness.observation import Prompt
from harness.targets.base import Target

Session = Sequence[Prompt]
OnTiming = Callable[[Timing], None]


def run_load(
    url: str,
    target: Target,
    sessions: Sequence[Session],
    *,
    times: Sequence[float] | None = None,
    concurrency: int | None = None,
    duration: float | None = None,
    warmup: float = 0.0,
    timeout: float = 60.0,
    headers: Mapping[str, str] | None = None,
    on_timing: OnTiming = lambda timing: None,
) -> Load:
    """``concurrency``: callers of a closed loop, or the most sessions in flight of an open one (None: no limit). With
    a ``duration`` (seconds, warm-up included) a closed loop begins sessions, again from the first, until it is over.
    Requests meant for the first ``warmup`` seconds are sent and kept, but are in no figure.
    """
    if times is not None and len(times) != len(sessions):
        raise ValueError(f"{len(times)} times for {len(sessions)} sessions")

    async def run() -> Load:
        async with Client(url, target, timeout=timeout, headers=headers) as client:
            for session in sessions:
                for prompt in session:
                    client.prepare(prompt)
            watch = Watch()
            async with watching(watch):
                plan = _Plan(client, time.perf_counter(), warmup, on_timing)
                if times is None:
                    left = iter(sessions) if duration is None else plan.until(duration, sessions)
                    found = await asyncio.gather(*(plan.caller(left) for _ in range(concurrency or 1)))
                else:
                    found = await plan.open_loop(sessions, times, concurrency)
            timings = [timing for session in found for timing in session]
            timings.sort(key=lambda timing: timing.intended)
            return Load(tuple(timings), watch.told(timings))

    return asyncio.run(run())


@asynccontextmanager
async def watching(watch: Watch) -> AsyncIterator[None]:
    beats = asyncio.create_task(watch.beat())
    watch.start()
    try:
        yield
    finally:
        watch.stop()
        beats.cancel()


class _Plan:
    def __init__(self, client: Client, start: float, warmup: float, on_timing: OnTiming) -> None:
        self._client, self._start, self._on_timing = client, start, on_timing
        self._counted_from = start + warmup

    def until(self, duration: float, sessions: Sequence[Session]) -> Iterator[Session]:
        return takewhile(lambda session: time.perf_counter() < self._start + duration, cycle(sessions))

    async def caller(self, left: Iterator[Session]) -> list[Timing]:
        return [timing for session in left for timing in await self._dialogue(session, time.perf_counter())]

    async def open_loop(
        self, sessions: Sequence[Session], times: Sequence[float], most: int | None
    ) -> list[list[Timing]]:
        gate: Any = nullcontext() if most is None else asyncio.Semaphore(most)
        tasks: list[asyncio.Task[list[Timing]]] = []
        for session, second in zip(sessions, times, strict=True):
            await asyncio.sleep(max(0.0, self._start + second - time.perf_counter()))
            tasks.append(asyncio.create_task(self._gated(gate, session, self._start + second)))
        return list(await asyncio.gather(*tasks))

    async def _gated(self, gate: Any, session: Session, intended: float) -> list[Timing]:
        async with gate:
            return await self._dialogue(session, intended)

    async def _dialogue(self, session: Session, intended: float) -> list[Timing]:
        found: list[Timing] = []
        for prompt in session:
            timing = await self._client.send(prompt, intended, warm=intended < self._counted_from)
            self._on_timing(timing)
            found.append(timing)
            intended = timing.ended
            if not timing.ok:
                break  # there is no dialogue to go on with
        return found
