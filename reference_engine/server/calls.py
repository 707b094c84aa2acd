"""One HTTP call from body to response: limits, work off the event loop, a client that hangs up, an answer or events.

A call is abandoned when its client goes: its requests are aborted, whether it was waiting for an answer or reading
events. What is refused before the first token gets its proper status, streamed or not; what fails later becomes an
error event.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.requests import Request as HttpRequest
from starlette.types import Receive, Scope, Send

from reference_engine.errors import RequestError
from reference_engine.request import Answer, StepOutput
from reference_engine.server.errors import ClientGone, EngineStopped, error_body, error_response
from reference_engine.server.seams import CLEAN_SERVING, ServingSeams
from reference_engine.server.worker import EngineWorker, Prepared, Run

T = TypeVar("T")
DONE = "data: [DONE]\n\n"
DRAINED_LIMITS = 4
"""A body that is too large is read, up to this many times the limit, before it is refused: the client sees why."""


@dataclass(frozen=True)
class Limits:
    """What one server takes on. ``max_body_mb`` is per call, ``max_calls`` at once, ``max_batch`` prompts a call;
    ``health_seconds`` is how long ``/health_generate`` waits for a token."""

    max_body_mb: int = 64
    max_calls: int = 1024
    max_batch: int = 128
    prepare_threads: int = 2
    health_seconds: int = 20


class Call(Protocol):
    """A call that was understood: its engine requests, and how their answers look on the wire."""

    @property
    def prepared(self) -> Sequence[Prepared]: ...

    @property
    def stream(self) -> bool: ...

    def reply(self, answers: Sequence[Answer]) -> tuple[int, Mapping[str, Any]]:
        """Status and body for all answers: of each request of ``prepared``, each choice."""

    def events(self, output: StepOutput) -> Sequence[Mapping[str, Any]]:
        """What to send for one step of one choice; called for every output, in order."""


class Desk:
    """Serves calls on one worker. ``read`` functions run in a thread of the pool."""

    def __init__(self, worker: EngineWorker, limits: Limits, seams: ServingSeams = CLEAN_SERVING) -> None:
        self._worker = worker
        self._seams = seams
        self._limits = limits
        self._pool = ThreadPoolExecutor(limits.prepare_threads, thread_name_prefix="assay-prepare")
        self._calls = 0

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def serve(self, http: HttpRequest, read: Callable[[bytes], Call]) -> Response:
        with ExitStack() as stack:
            stack.enter_context(self._seat())
            raw = await read_body(http, self._limits.max_body_mb * 2**20)
            call = await unless_gone(http, self._seams.offload(self._pool, read, raw))
            run = self._worker.run(call.prepared)
            stack.callback(run.close)
            if not call.stream:
                return _reply(call, await unless_gone(http, run.answers()))
            first = await unless_gone(http, anext(run))
            if first.answer is not None and first.answer.error is not None and len(run.keys) == 1:
                return _reply(call, [first.answer])
            return EventStream(_events(call, first, run), stack.pop_all())
        raise AssertionError("unreachable")

    async def tell(self, http: HttpRequest, make: Callable[[bytes], Any]) -> Response:
        """For what the engine's thread is not needed: ``make`` turns the body into the answer."""
        with self._seat():
            raw = await read_body(http, self._limits.max_body_mb * 2**20)
            work = asyncio.get_running_loop().run_in_executor(self._pool, make, raw)
            return JSONResponse(await unless_gone(http, work))

    @contextmanager
    def _seat(self) -> Iterator[None]:
        if self._calls >= self._limits.max_calls:
            raise RequestError("server", f"{self._calls} calls are being served already; try again later", status=503)
        self._calls += 1
        try:
            yield
        finally:
            self._calls -= 1


class EventStream(StreamingResponse):
    """Server-sent events. ``held`` is released at the end, however it comes, even if nothing was sent yet."""

    def __init__(self, lines: AsyncIterator[str], held: AbstractContextManager[Any]) -> None:
        super().__init__(lines, media_type="text/event-stream", headers={"Cache-Control": "no-cache"})
        self._held = held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._held:
            await super().__call__(scope, receive, send)


async def read_body(http: HttpRequest, limit: int) -> bytes:
    """The body, or a refusal (413) once all of it has gone by unkept."""
    kept = bytearray()
    size = 0
    async for chunk in http.stream():
        size += len(chunk)
        if size <= limit:
            kept += chunk
        elif size > limit * DRAINED_LIMITS:
            break
    if size > limit:
        raise RequestError("body", f"more than {limit} bytes", status=413)
    return bytes(kept)


async def unless_gone(http: HttpRequest, work: Awaitable[T]) -> T:
    """The result of ``work``; :class:`ClientGone` as soon as the client hangs up. The body must have been read."""
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_hung_up(http))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientGone
        return task.result()
    finally:
        for pending in (task, gone):
            if not pending.done():
                pending.cancel()
                with suppress(asyncio.CancelledError):
                    await pending


async def _hung_up(http: HttpRequest) -> None:
    while (await http.receive())["type"] != "http.disconnect":
        pass


def _reply(call: Call, answers: Sequence[Answer]) -> Response:
    status, body = call.reply(answers)
    return JSONResponse(body) if status == 200 else error_response(status, body)


async def _events(call: Call, first: StepOutput, run: Run) -> AsyncIterator[str]:
    try:
        for event in call.events(first):
            yield as_event(event)
        async for output in run:
            for event in call.events(output):
                yield as_event(event)
    except EngineStopped as error:
        yield as_event(error_body(error))
        return
    yield DONE


def as_event(body: Mapping[str, Any]) -> str:
    """ASCII only: some clients take U+2028 for the end of a line."""
    return f"data: {json.dumps(body, separators=(',', ':'))}\n\n"
