"""Sends one prompt, reads its stream, and notes when what came. Every way to fail ends as an error in the timing.

Bodies are written beforehand: nothing but sending and reading happens while times are taken.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import aiohttp

from harness.event_stream import data_of
from harness.load.timing import Timing
from harness.observation import Prompt
from harness.targets.base import StreamEvent, Target

ERROR_CHARACTERS = 500
JSON = "application/json"
LONGEST_LINE = 2**24


class Refused(Exception):
    """The server answered with an error, or not as a stream."""


@dataclass
class Stream:
    """What has come of one answer so far."""

    arrivals: list[float] = field(default_factory=list)
    """When each event that brought tokens came."""
    prompt_tokens: int | None = None
    completion_tokens: int | None = None

    def take(self, now: float, event: Mapping[str, Any], seen: StreamEvent) -> None:
        if brings_tokens(event, seen, self.completion_tokens or 0):
            self.arrivals.append(now)
        self.prompt_tokens = seen.prompt_tokens or self.prompt_tokens
        self.completion_tokens = seen.completion_tokens or self.completion_tokens


def brings_tokens(event: Mapping[str, Any], seen: StreamEvent, before: int) -> bool:
    """By its count where it has one; else by its text: OpenAI streams begin with a role and end with usage alone."""
    choices = event.get("choices")
    if choices is None:
        return seen.completion_tokens is None or seen.completion_tokens > before
    return any(
        (choice.get("delta") or choice).get(name)
        for choice in choices
        for name in ("content", "text", "reasoning_content", "reasoning", "tool_calls", "token_ids")
    )


class Client:
    """One set of connections to one server. Use as an async context manager."""

    def __init__(
        self, url: str, target: Target, *, timeout: float = 60.0, headers: Mapping[str, str] | None = None
    ) -> None:
        self._url, self._target = url.rstrip("/"), target
        self._timeout = aiohttp.ClientTimeout(total=timeout)
        self._headers = {**(headers or {}), "Content-Type": JSON}
        self._bodies: dict[int, tuple[str, bytes]] = {}

    async def __aenter__(self) -> Client:
        unlimited = aiohttp.TCPConnector(limit=0)
        self._session = aiohttp.ClientSession(
            connector=unlimited, timeout=self._timeout, read_bufsize=LONGEST_LINE, headers=self._headers
        )
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._session.close()

    def prepare(self, prompt: Prompt) -> tuple[str, bytes]:
        """Address and body of ``prompt``, made once."""
        if id(prompt) not in self._bodies:
            call = self._target.call(prompt, evidence=False, stream=True)
            self._bodies[id(prompt)] = self._url + call.path, json.dumps(call.body).encode()
        return self._bodies[id(prompt)]

    async def send(self, prompt: Prompt, intended: float, *, warm: bool = False) -> Timing:
        address, body = self.prepare(prompt)
        sent, stream, error = time.perf_counter(), Stream(), None
        try:
            await self._read(address, body, stream)
            if not stream.arrivals:
                error = "the stream held no token"
        except (Refused, aiohttp.ClientError, ValueError, LookupError, TypeError, AttributeError) as problem:
            error = f"{type(problem).__name__}: {problem}"[:ERROR_CHARACTERS]
        except TimeoutError:
            error = f"no whole answer within {self._timeout.total:g} s"
        ended = time.perf_counter()
        came = stream.arrivals
        gaps = tuple(later - earlier for earlier, later in pairwise(came))
        tokens = len(came) if stream.completion_tokens is None else stream.completion_tokens
        first = came[0] if came else None
        return Timing(
            prompt.name, intended, sent, first, ended, gaps, stream.prompt_tokens, tokens, error=error, warm=warm
        )

    async def _read(self, address: str, body: bytes, stream: Stream) -> None:
        async with self._session.post(address, data=body) as answer:
            if answer.status != 200:
                raise Refused(f"HTTP {answer.status}: {(await answer.text(errors='replace'))[:ERROR_CHARACTERS]}")
            async for line in answer.content:
                if (data := data_of(line)) is None:
                    continue
                now = time.perf_counter()
                event = json.loads(data)
                if "error" in event:
                    raise Refused(f"in the stream: {event['error']}")
                stream.take(now, event, self._target.read_event(event))
