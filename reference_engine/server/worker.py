"""The engine's own thread, and the bridge between it and the event loop.

All of the engine but ``prepare`` is touched by that thread alone. Commands go in through a queue; outputs come back
step by step through ``call_soon_threadsafe``. Which client waits for which request is known to the event loop alone. If
the thread ends for any reason, every waiting client gets :class:`EngineStopped`, and so does every later one.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from reference_engine.config import EngineConfig
from reference_engine.errors import RequestError
from reference_engine.request import Answer, Request, StepOutput
from reference_engine.server.errors import EngineStopped
from reference_engine.server.latencies import Key, Latencies

if TYPE_CHECKING:
    from reference_engine.multimodal.placing import PromptPlacer
    from reference_engine.tokenizer import Codec

logger = logging.getLogger(__name__)
JOIN_SECONDS = 15.0
"""What the last step and the end of processes that share the model may take."""


class ServedEngine(Protocol):
    """What the server needs of an engine."""

    @property
    def config(self) -> EngineConfig: ...

    @property
    def codec(self) -> Codec: ...

    @property
    def placer(self) -> PromptPlacer: ...

    def prepare(self, request: Request) -> Any:
        """May be called from any thread; the result goes to ``submit``."""

    def submit(self, request: Request, prompt: Any = None) -> None: ...

    def step(self) -> list[StepOutput]: ...

    def abort(self, request_id: str) -> None: ...

    def has_work(self) -> bool: ...

    def flush_cache(self) -> None: ...

    def counters(self) -> Mapping[str, float]: ...

    def close(self) -> None:
        """End what shares the model, if anything does; nothing runs after it."""


@dataclass(frozen=True)
class Prepared:
    request: Request
    prompt: Any

    @property
    def keys(self) -> list[Key]:
        return [(self.request.request_id, index) for index in range(self.request.sampling.n)]


class Run:
    """The outputs of some requests, as they come. Iterate to the end, or :meth:`close`: that aborts what still runs."""

    def __init__(self, keys: Sequence[Key], abort: Callable[[Iterable[Key]], None]) -> None:
        self.keys = keys
        self._unfinished = set(keys)
        self._abort = abort
        self._arrived: asyncio.Queue[StepOutput | EngineStopped] = asyncio.Queue()

    def put(self, output: StepOutput | EngineStopped) -> None:
        self._arrived.put_nowait(output)

    def __aiter__(self) -> Run:
        return self

    async def __anext__(self) -> StepOutput:
        if not self._unfinished:
            raise StopAsyncIteration
        output = await self._arrived.get()
        if isinstance(output, EngineStopped):
            self._unfinished.clear()
            raise output
        if output.answer is not None:
            self._unfinished.discard((output.request_id, output.index))
        return output

    async def answers(self) -> list[Answer]:
        """One for each choice of each request, in the order of ``keys``."""
        made = {(one.request_id, one.index): one.answer async for one in self if one.answer is not None}
        return [made[key] for key in self.keys]

    def close(self) -> None:
        self._abort(self._unfinished)
        self._unfinished.clear()


class EngineWorker:
    def __init__(self, engine: ServedEngine) -> None:
        self.engine = engine
        self.counters: Mapping[str, float] = engine.counters()
        """As they were after the latest step."""
        self.latencies = Latencies()
        self.failure: BaseException | None = None
        self._commands: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._waiting: dict[Key, Run] = {}
        self._errands: set[asyncio.Future[None]] = set()
        """Commands that somebody waits for."""
        self._thread = threading.Thread(target=self._work, name="assay-engine", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = False

    @property
    def alive(self) -> bool:
        return self._thread.is_alive() and self.failure is None

    # -- called on the event loop

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    async def stop(self) -> None:
        """End the thread after its current step. Whoever still waits gets :class:`EngineStopped`."""
        self._stopping = True
        self._commands.put(None)
        await asyncio.to_thread(self._thread.join, JOIN_SECONDS)
        self._end_all("the server is shutting down")

    def run(self, prepared: Sequence[Prepared], began: float | None = None) -> Run:
        """Submit requests together, so that they can meet in one batch. Raises (409) where a name is taken. ``began``
        is when their call came, by ``time.perf_counter``; now if left out."""
        self._check_alive()
        names = Counter(p.request.request_id for p in prepared) + Counter({key[0] for key in self._waiting})
        for p in prepared:
            if names[p.request.request_id] > 1:
                raise RequestError("rid", f"{p.request.request_id!r} is the name of another request", status=409)
        run = Run([key for p in prepared for key in p.keys], self._abort)
        self._waiting |= dict.fromkeys(run.keys, run)
        self.latencies.began(run.keys, began)
        self._commands.put(partial(self._submit, list(prepared)))
        return run

    def abort(self, request_ids: Iterable[str] | None) -> list[str]:
        """End these requests, or all of them; their clients get what was made. Returns those that were running."""
        running = {key[0] for key in self._waiting}
        ended = sorted(running if request_ids is None else running.intersection(request_ids))
        for request_id in ended:
            self._commands.put(partial(self.engine.abort, request_id))
        return ended

    async def flush_cache(self) -> None:
        """Returns when it is done, which is between two steps."""
        self._check_alive()
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._errands.add(done)
        self._commands.put(partial(self._flush, done))
        try:
            await done
        finally:
            self._errands.discard(done)

    def _check_alive(self) -> None:
        if not self.alive or self._stopping:
            raise EngineStopped(self.why_stopped())

    def why_stopped(self) -> str:
        if self.failure is not None:
            return f"it has stopped: {type(self.failure).__name__}: {str(self.failure)[:200]}"
        return "the server is shutting down" if self._stopping else "it is not running"

    def _abort(self, keys: Iterable[Key]) -> None:
        for request_id in sorted({key[0] for key in keys if self._waiting.pop(key, None) is not None}):
            self._commands.put(partial(self.engine.abort, request_id))

    def _deliver(self, outputs: Sequence[StepOutput]) -> None:
        for output in outputs:
            self.latencies.delivered(output)
            key = (output.request_id, output.index)
            run = self._waiting.get(key)
            if output.answer is not None:
                self._waiting.pop(key, None)
            if run is not None:
                run.put(output)

    def _end_all(self, why: str) -> None:
        runs = {id(run): run for run in self._waiting.values()}
        self._waiting.clear()
        self.latencies.forget_all()
        for run in runs.values():
            run.put(EngineStopped(why))
        for errand in self._errands:
            if not errand.done():
                errand.set_exception(EngineStopped(why))

    # -- called on the engine's thread

    def _work(self) -> None:
        try:
            while self._take_commands():
                outputs = self.engine.step()
                self.counters = self.engine.counters()
                if outputs:
                    self._on_loop(self._deliver, outputs)
        except Exception as error:
            logger.critical("the engine's thread ends, all requests fail", exc_info=True)
            self.failure = error
            self._on_loop(lambda: self._end_all(self.why_stopped()))
        finally:
            self.engine.close()

    def _take_commands(self) -> bool:
        """Do everything that was asked for since; wait while there is nothing to run. False when told to stop."""
        while True:
            try:
                command = self._commands.get(block=not self.engine.has_work())
            except queue.Empty:
                return True
            if command is None:
                return False
            command()

    def _flush(self, done: asyncio.Future[None]) -> None:
        self.engine.flush_cache()
        self._on_loop(_settle, done)

    def _submit(self, prepared: Sequence[Prepared]) -> None:
        for p in prepared:
            try:
                self.engine.submit(p.request, p.prompt)
            except RequestError as error:
                self._on_loop(self._deliver, [_refused(key, error) for key in p.keys])

    def _on_loop(self, function: Callable[..., None], *arguments: Any) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(function, *arguments)


def _settle(done: asyncio.Future[None]) -> None:
    if not done.done():
        done.set_result(None)


def _refused(key: Key, error: RequestError) -> StepOutput:
    request_id, index = key
    return StepOutput(request_id, [], "", Answer(request_id, [], "", "error", 0, error=error, index=index), index)
