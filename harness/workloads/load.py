"""A closed-loop load generator: ``concurrency`` callers, each sending its next request as soon as the last one ended.

Answers are streamed, so that the time to the first token is what a caller sees. Times are this client's, in seconds.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median

import httpx2

from harness.asking import deadline, gather_or_cancel, new_client
from harness.errors import JobError
from harness.launch.server import Server
from harness.observation import Prompt


@dataclass(frozen=True)
class Timing:
    """One streamed request."""

    request: str
    ttft: float
    seconds: float
    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True)
class Round:
    """One pass over the prompts on one server, with nothing else under load."""

    setting: str
    seconds: float
    timings: tuple[Timing, ...]

    @property
    def throughput(self) -> float:
        """Output tokens a second."""
        return sum(t.completion_tokens for t in self.timings) / self.seconds

    @property
    def prompt_tokens(self) -> int:
        return sum(t.prompt_tokens for t in self.timings)

    @property
    def median_ttft(self) -> float:
        return median(t.ttft for t in self.timings)


def run_round(server: Server, prompts: Sequence[Prompt], *, concurrency: int) -> Round:
    """Send every prompt once. A request that is refused ends the job: figures without it would compare other work."""

    async def run() -> Round:
        left = iter(prompts)
        async with new_client(server, concurrency) as client:
            started = time.perf_counter()
            found = await gather_or_cancel([_caller(client, server, left) for _ in range(concurrency)])
            seconds = time.perf_counter() - started
        return Round(server.setting, seconds, tuple(timing for caller in found for timing in caller))

    return asyncio.run(run())


async def _caller(client: httpx2.AsyncClient, server: Server, left: Iterator[Prompt]) -> list[Timing]:
    return [await _stream(client, server, prompt) for prompt in left]


async def _stream(client: httpx2.AsyncClient, server: Server, prompt: Prompt) -> Timing:
    call = server.target.call(prompt, evidence=False, stream=True)
    started = time.perf_counter()
    ttft: float | None = None
    prompt_tokens = completion_tokens = 0
    async with (
        deadline(server, f"streaming request {prompt.name}"),
        client.stream("POST", call.path, json=call.body) as answer,
    ):
        if answer.status_code != 200:
            refusal = (await answer.aread()).decode(errors="replace")[:500]
            raise JobError(f"{server.setting} refused {prompt.name}: {refusal}")
        async for line in answer.aiter_lines():
            if not line.startswith("data:") or (data := line[5:].strip()) == "[DONE]":
                continue
            try:
                event = json.loads(data)
            except ValueError as error:
                raise JobError(f"{server.setting} streamed {data[:80]!r} for {prompt.name}: not JSON") from error
            if "error" in event:
                raise JobError(f"{server.setting} failed {prompt.name}: {event['error']}")
            ttft = ttft if ttft is not None else time.perf_counter() - started
            seen = server.target.read_event(event)
            prompt_tokens = seen.prompt_tokens or prompt_tokens
            completion_tokens = seen.completion_tokens or completion_tokens
    if ttft is None:
        raise JobError(f"{server.setting} streamed nothing for {prompt.name}")
    return Timing(prompt.name, ttft, time.perf_counter() - started, prompt_tokens, completion_tokens)
