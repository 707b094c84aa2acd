"""Sends prompts to a launched server and reads the answers. One client a call; every answer is handed on as it lands.

``closed_loop`` keeps ``concurrency`` requests in flight; ``waves`` sends that many at once and waits for all of them,
so that they meet in one batch. A server that dies or hangs raises :class:`TargetDied`; a refused request is an
observation.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any, Literal

import httpx2

from harness.event_stream import EventStream
from harness.launch.server import Server
from harness.observation import Observation, Prompt
from harness.targets.base import Call, Target

Arrival = Literal["closed_loop", "waves"]
OnAnswer = Callable[[Prompt, Observation], None]
Ask = Callable[[httpx2.AsyncClient, Server, Prompt], Awaitable[Observation]]
"""One request and the reading of its answer."""
MakeCall = Callable[[Target, Prompt], Call]
Read = Callable[[Server, Prompt, int, Any], Observation]
"""From an answer's status and body."""


def new_client(server: Server, connections: int) -> httpx2.AsyncClient:
    limits = httpx2.Limits(max_connections=connections, max_keepalive_connections=connections)
    return httpx2.AsyncClient(
        base_url=server.url,
        headers=dict(server.headers),
        timeout=server.request_timeout,
        limits=limits,
        trust_env=False,
    )


@asynccontextmanager
async def deadline(server: Server, doing: str) -> AsyncIterator[None]:
    """Around one request: a server that dies, breaks off or does not come to an end in time raises
    :class:`TargetDied`, also one that goes on sending a little now and then.
    """
    try:
        async with asyncio.timeout(server.request_timeout):
            yield
    except (TimeoutError, httpx2.TimeoutException) as error:
        limit = f"not done after {server.request_timeout:g} s; --request-timeout allows more"
        raise await asyncio.to_thread(server.death, f"{doing} ({limit})") from error
    except httpx2.TransportError as error:
        what = " ".join(filter(None, [type(error).__name__, str(error)]))
        raise await asyncio.to_thread(server.death, f"{doing} ({what})") from error


def ask_all(
    server: Server,
    prompts: Sequence[Prompt],
    *,
    concurrency: int,
    arrival: Arrival = "closed_loop",
    on_answer: OnAnswer = lambda prompt, observation: None,
    ask: Ask | None = None,
) -> list[Observation]:
    """One observation a prompt, in the prompts' order. ``ask`` is how each is asked; as a whole answer unless given."""

    async def one(client: httpx2.AsyncClient, prompt: Prompt) -> Observation:
        started = time.monotonic()
        observation = await (ask or ask_whole)(client, server, prompt)
        observation = replace(observation, seconds=time.monotonic() - started)
        on_answer(prompt, observation)
        return observation

    async def gated(gate: asyncio.Semaphore, client: httpx2.AsyncClient, prompt: Prompt) -> Observation:
        async with gate:
            return await one(client, prompt)

    async def run() -> list[Observation]:
        async with new_client(server, concurrency) as client:
            if arrival == "waves":
                found: list[Observation] = []
                for wave in _chunks(prompts, concurrency):
                    found += await gather_or_cancel([one(client, prompt) for prompt in wave])
                return found
            gate = asyncio.Semaphore(concurrency)
            return await gather_or_cancel([gated(gate, client, prompt) for prompt in prompts])

    return asyncio.run(run())


async def gather_or_cancel(work: Sequence[Any]) -> list[Any]:
    """Like gather, but the first error cancels the rest and is the one that is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(item) for item in work]
    except BaseExceptionGroup as group_error:
        raise group_error.exceptions[0] from None
    return [task.result() for task in tasks]


def _chunks(prompts: Sequence[Prompt], size: int) -> Iterator[Sequence[Prompt]]:
    for start in range(0, len(prompts), size):
        yield prompts[start : start + size]


def asking(make: MakeCall, read: Read | None = None, doing: str = "answering") -> Ask:
    """One post of the call that ``make`` makes of a prompt; its answer as ``read`` reads it, or as a whole one."""

    async def ask(client: httpx2.AsyncClient, server: Server, prompt: Prompt) -> Observation:
        call = make(server.target, prompt)
        status, body = await post(client, server, call, f"{doing} request {prompt.name}")
        if read is not None:
            return read(server, prompt, status, body)
        return server.target.read(prompt, server.setting, status, body)

    return ask


def whole(target: Target, prompt: Prompt) -> Call:
    return target.call(prompt, evidence=True, stream=False)


ask_whole = asking(whole)
ask_scored = asking(lambda target, prompt: target.with_scores(whole(target, prompt)), doing="scoring")
"""The whole answer, and how likely each token of the prompt was."""


async def ask_streamed(client: httpx2.AsyncClient, server: Server, prompt: Prompt) -> Observation:
    """The answer that a stream's events add up to."""
    call = server.target.call(prompt, evidence=True, stream=True)
    stream, events = EventStream(), list[Any]()
    try:
        async with (
            deadline(server, f"streaming request {prompt.name}"),
            client.stream("POST", call.path, json=call.body) as answer,
        ):
            if answer.status_code != 200:
                await answer.aread()
                return server.target.read(prompt, server.setting, answer.status_code, _body(answer))
            async for piece in answer.aiter_bytes():
                events += map(json.loads, stream.take(piece))
            events += map(json.loads, stream.end())
    except ValueError as error:
        return Observation(prompt.name, server.setting, 200, error=f"an event of the stream is not JSON: {error}")
    return server.target.read_stream(prompt, server.setting, events)


def ask_choices(n: int) -> Ask:
    """``n`` answers to each prompt, in one call: the first, and in its ``others`` the rest."""

    def read(server: Server, prompt: Prompt, status: int, body: Any) -> Observation:
        first, *others = server.target.read_choices(prompt, server.setting, status, body)
        if first.ok and len(others) != n - 1:
            return replace(first, error=f"{len(others) + 1} choices came, {n} were asked for")
        return replace(first, others=tuple(others))

    return asking(lambda target, prompt: target.with_choices(whole(target, prompt), n), read, f"making {n} answers to")


async def post(client: httpx2.AsyncClient, server: Server, call: Call, doing: str) -> tuple[int, Any]:
    """Status and body, as JSON where it is JSON. Raises :class:`TargetDied` where none came."""
    async with deadline(server, doing):
        answer = await client.post(call.path, json=call.body)
    return answer.status_code, _body(answer)


def _body(answer: httpx2.Response) -> Any:
    with suppress(ValueError):
        return answer.json()
    return answer.text
