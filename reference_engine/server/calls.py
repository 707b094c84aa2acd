"""One HTTP call from body to response: limits, work off the event loop, a client that hangs up, an answer or events.

A call is abandoned when its client goes: its requests are aborted, whether it was waiting for an answer or reading
events. What is refused before the first token gets its proper status, streamed or not; what fails later becomes an
error event.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from functools import partial
from typing import Any, Protocol, TypeVar

from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.requests import Request as HttpRequest
from starlette.types import Receive, Scope, Send

from reference_engine.errors import RequestError
from reference_engine.request import Answer, Request, StepOutput
from reference_engine.server.bodies import check_keys, check_structure, read_body
from reference_engine.server.errors import ClientGone, EngineStopped, error_body, error_response
from reference_engine.server.field_types import Body
from reference_engine.server.leniency import TELLS, is_lenient, leniently, told
from reference_engine.server.limits import Limits
from reference_engine.server.seams import CLEAN_SERVING, ServingSeams
from reference_engine.server.worker import EngineWorker, Prepared, Run

T = TypeVar("T")
DONE = "data: [DONE]\n\n"


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
        self._held = 0
        """Bytes of bodies and decoded pictures of the calls being served."""

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def serve(self, http: HttpRequest, read: Callable[[bytes], Call], body: type[Body]) -> Response:
        """``body`` is what ``read`` reads; fields that it does not know are dropped if the call asks for that."""
        ignored: list[str] = []
        if is_lenient(http):
            read = leniently(read, body, ignored)
        response = await self._serve(http, read)
        if ignored:
            response.headers[TELLS] = told(ignored)
        return response

    async def _serve(self, http: HttpRequest, read: Callable[[bytes], Call]) -> Response:
        began = time.perf_counter()
        with ExitStack() as stack:
            stack.enter_context(self._seat())
            call = await self._understood(http, read, stack)
            stack.enter_context(self._holding(sum(picture_bytes(p.request) for p in call.prepared)))
            run = self._worker.run(call.prepared, began)
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
        with ExitStack() as stack:
            stack.enter_context(self._seat())
            return JSONResponse(await self._understood(http, make, stack))
        raise AssertionError("unreachable")

    async def _understood(self, http: HttpRequest, read: Callable[[bytes], T], stack: ExitStack) -> T:
        """What ``read`` makes of the body, in a thread. The body's bytes are counted as held until ``stack`` closes."""
        raw = await read_body(http, self._limits)
        stack.enter_context(self._holding(len(raw)))
        work = partial(_read_checked, read=read, limits=self._limits)
        return await unless_gone(http, self._seams.offload(self._pool, work, raw))

    @contextmanager
    def _seat(self) -> Iterator[None]:
        limits, held = self._limits, self._held >> 20
        if self._calls >= limits.max_calls:
            raise RequestError("server", f"{self._calls} calls are being served already; try again later", status=429)
        if held >= limits.max_held_mb:
            message = f"calls being served hold {held} MB already, of {limits.max_held_mb}; try again later"
            raise RequestError("server", message, status=429)
        self._calls += 1
        try:
            yield
        finally:
            self._calls -= 1

    @contextmanager
    def _holding(self, size: int) -> Iterator[None]:
        self._held += size
        try:
            yield
        finally:
            self._held -= size


def _read_checked(raw: bytes, *, read: Callable[[bytes], T], limits: Limits) -> T:
    check_structure(raw, limits)
    made = read(raw)
    check_keys(raw)
    return made


def picture_bytes(request: Request) -> int:
    """Of its pictures as they are held while it waits, decoded: three bytes a pixel."""
    pictures = [*request.images, *(frame for video in request.videos for frame in video.frames)]
    return sum(3 * picture.width * picture.height for picture in pictures)


class EventStream(StreamingResponse):
    """Server-sent events. ``held`` is released at the end, however it comes, even if nothing was sent yet."""

    def __init__(self, lines: AsyncIterator[str], held: AbstractContextManager[Any]) -> None:
        super().__init__(lines, media_type="text/event-stream", headers={"Cache-Control": "no-cache"})
        self._held = held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._held:
            await super().__call__(scope, receive, send)


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
