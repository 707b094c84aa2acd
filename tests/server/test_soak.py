"""A server at full load for two minutes (``SOAK_SECONDS=600``: ten), with clients that leave, and what is left of it.

What ``/health`` took meanwhile is told, not judged.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import os
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from statistics import quantiles
from typing import Any

import httpx2
import pytest

from tests.server.hostile_pictures import plain, saved
from tests.server.launching import launched

pytestmark = [pytest.mark.slow, pytest.mark.e2e, pytest.mark.timeout(1800)]
SECONDS = float(os.environ.get("SOAK_SECONDS", "120"))
CLIENTS, PATIENCE, LARGEST_GROWTH = 48, 120.0, 64 * 2**20
SLOT = "<|vision_start|><|image_pad|><|vision_end|>"
PICTURES = [base64.b64encode(saved(plain(28 * w, 28 * h), "png")).decode() for w, h in [(1, 1), (2, 3), (5, 2), (9, 9)]]


def bodies() -> list[dict[str, Any]]:
    """Of every kind; greedy, so that each has one answer."""
    made: list[dict[str, Any]] = []
    for number in range(24):
        images = [PICTURES[(number + i) % 4] for i in range(number % 4)]
        sampling = {"max_new_tokens": 4 + 7 * (number % 9), "ignore_eos": True}
        made.append({"text": SLOT * len(images) + "read " * (1 + number * 5), "image_data": images or None,
                     "sampling_params": sampling})  # fmt: skip
    return made


BODIES = bodies()


class Soak:
    def __init__(self, url: str, expected: list[list[int]]) -> None:
        self._url, self._expected = url, expected
        self._numbers = itertools.count()
        self.done: Counter[str] = Counter()

    async def run(self, seconds: float) -> None:
        ends = time.monotonic() + seconds
        limits = httpx2.Limits(max_connections=CLIENTS * 2)
        async with httpx2.AsyncClient(base_url=self._url, timeout=PATIENCE, limits=limits, trust_env=False) as client:
            await asyncio.gather(*(self._client(client, random.Random(seed), ends) for seed in range(CLIENTS)))

    async def _client(self, client: httpx2.AsyncClient, draw: random.Random, ends: float) -> None:
        ways = [self._whole, self._whole, self._streamed, self._several, self._leaves, self._gives_up, self._aborts]
        while time.monotonic() < ends:
            way = draw.choice(ways)
            await asyncio.wait_for(way(client, draw.randrange(len(BODIES)), draw), PATIENCE)
            self.done[way.__name__.strip("_")] += 1

    async def _whole(self, client: httpx2.AsyncClient, number: int, draw: random.Random) -> None:
        answer = await client.post("/generate", json=BODIES[number])
        assert answer.json()["output_ids"] == self._expected[number]

    async def _several(self, client: httpx2.AsyncClient, number: int, draw: random.Random) -> None:
        sampling = BODIES[number]["sampling_params"] | {"n": 3}
        answer = await client.post("/generate", json=BODIES[number] | {"sampling_params": sampling})
        assert [one["output_ids"] for one in answer.json()] == [self._expected[number]] * 3

    async def _streamed(self, client: httpx2.AsyncClient, number: int, draw: random.Random) -> None:
        async with client.stream("POST", "/generate", json=BODIES[number] | {"stream": True}) as answer:
            lines = [line async for line in answer.aiter_lines() if line]
        assert lines[-1] == "data: [DONE]"
        assert f'"output_ids":{str(self._expected[number]).replace(" ", "")},' in lines[-2]

    async def _leaves(self, client: httpx2.AsyncClient, number: int, draw: random.Random) -> None:
        """After some events."""
        async with client.stream("POST", "/generate", json=BODIES[number] | {"stream": True}) as answer:
            lines = answer.aiter_lines()
            for _ in range(draw.randrange(1, 6)):
                await anext(lines)

    async def _gives_up(self, client: httpx2.AsyncClient, number: int, draw: random.Random) -> None:
        """Before there is an answer, if that takes long enough."""
        with suppress(httpx2.TimeoutException):
            await client.post("/generate", json=BODIES[number], timeout=draw.uniform(0.01, 1))

    async def _aborts(self, client: httpx2.AsyncClient, number: int, draw: random.Random) -> None:
        name = f"soak-{next(self._numbers)}"
        asking = asyncio.ensure_future(client.post("/generate", json=BODIES[number] | {"rid": name}))
        await asyncio.sleep(draw.uniform(0, 0.5))
        assert (await client.post("/abort", json={"rid": name})).status_code == 200
        found = (await asking).json()
        assert found["output_ids"] == self._expected[number][: len(found["output_ids"])]


def test_it_serves_and_nothing_is_left(
    model: Path, tmp_path: Path, until: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--num-blocks", "512", "--check-every-step", "on")  # so few that requests are preempted
    with launched(model, tmp_path / "log", *options) as server, server.client() as client:
        expected = [client.post("/generate", json=body).json()["output_ids"] for body in BODIES]
        soak = Soak(server.url, expected)
        asyncio.run(soak.run(SECONDS / 4))
        until(lambda: idle(client))
        before = server.resident
        with watched(server.url) as health:
            asyncio.run(soak.run(SECONDS * 3 / 4))
        until(lambda: idle(client))
        grown = server.resident - before
        p50, p99 = (quantiles(health, n=100)[i] * 1000 for i in (49, 98))
        with capsys.disabled():
            sys.stdout.write(
                f"\nsoak of {SECONDS:.0f} s: {soak.done.total()} calls of {CLIENTS} clients {dict(soak.done)}, /health "
                f"p50 {p50:.1f} ms, p99 {p99:.1f} ms, max {max(health) * 1000:.1f} ms over {len(health)} calls, "
                f"memory {grown / 2**20:+.1f} MB\n"
            )
        assert grown < LARGEST_GROWTH
        assert len(soak.done) == 6
        values = counters(client)
        assert values["assay_blocks_free"] == values["assay_blocks_total"]
        assert values["assay_encoder_rows_pinned"] == 0
        assert values['assay_requests_finished_total{reason="error"}'] == 0
        assert values['assay_requests_finished_total{reason="abort"}'] > 0
        assert "Traceback" not in server.log.read_text()


@contextmanager
def watched(url: str) -> Iterator[list[float]]:
    """Seconds that ``/health`` took, asked ten times a second for as long as the body runs."""
    ended, took = threading.Event(), list[float]()

    def watch() -> None:
        with httpx2.Client(base_url=url, timeout=30, trust_env=False) as client:
            while not ended.wait(0.1):
                began = time.perf_counter()
                assert client.get("/health").status_code == 200
                took.append(time.perf_counter() - began)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield took
    finally:
        ended.set()
        thread.join(30)


def idle(client: httpx2.Client) -> bool:
    values = counters(client)
    return values["assay_running"] == values["assay_waiting"] == 0


def counters(client: httpx2.Client) -> dict[str, float]:
    lines = [line.rsplit(" ", 1) for line in client.get("/metrics").text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in lines}
