"""Sends prompts to a launched server and reads the answers. One client a call; every answer is handed on as it lands.

``closed_loop`` keeps ``concurrency`` requests in flight; ``waves`` sends that many at once and waits for all of them,
so that they meet in one batch. A server that dies or hangs raises :class:`TargetDied`; a refused request is an
observation.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any, Literal

import httpx2

from harness.launch.server import Server
from harness.observation import Observation, Prompt

Arrival = Literal["closed_loop", "waves"]
OnAnswer = Callable[[Prompt, Observation], None]


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
) -> list[Observation]:
    """One observation a prompt, in the prompts' order."""

    async def run() -> list[Observation]:
        async with new_client(server, concurrency) as client:
            if arrival == "waves":
                found: list[Observation] = []
                for wave in _chunks(prompts, concurrency):
                    found += await gather_or_cancel([_ask(client, server, prompt, on_answer) for prompt in wave])
                return found
            gate = asyncio.Semaphore(concurrency)
            return await gather_or_cancel([_gated(gate, client, server, prompt, on_answer) for prompt in prompts])

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


async def _gated(
    gate: asyncio.Semaphore, client: httpx2.AsyncClient, server: Server, prompt: Prompt, on_answer: OnAnswer
) -> Observation:
    async with gate:
        return await _ask(client, server, prompt, on_answer)


async def _ask(client: httpx2.AsyncClient, server: Server, prompt: Prompt, on_answer: OnAnswer) -> Observation:
    call = server.target.call(prompt, evidence=True, stream=False)
    started = time.monotonic()
    async with deadline(server, f"answering request {prompt.name}"):
        answer = await client.post(call.path, json=call.body)
    body: Any = answer.text
    with suppress(ValueError):
        body = answer.json()
    observation = server.target.read(prompt, server.setting, answer.status_code, body)
    observation = replace(observation, seconds=time.monotonic() - started)
    on_answer(prompt, observation)
    return observation
