"""What a call costs the one thread that answers all calls: processor time of that thread, whatever else is busy."""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import numpy as np
from PIL import Image

from harness.differential.bench import Bench
from harness.differential.check import Check
from harness.observation import Picture, png_uri
from reference_engine.server.app import create_app
from reference_engine.server.limits import Limits

TURNS = 4
SMALL, LARGE = 56, 560
"""Pixels, of a side."""


def event_loop_is_free(bench: Bench) -> Iterator[str]:
    """A larger picture costs the event loop less than half of what decoding it takes."""
    if bench.model.image is None:
        return
    rng = np.random.default_rng(bench.oracle.seed)
    files = [_png(rng, side) for side in (SMALL, LARGE)]
    spent = asyncio.run(_spent(bench, [_body(bench.model.image, file) for file in files]))
    decoding = _least(lambda: Image.open(io.BytesIO(files[1])).load())
    if spent[1] - spent[0] > decoding / 2:
        yield (
            f"{spent[1] * 1e3:.1f} ms of the event loop for a picture that is decoded in {decoding * 1e3:.1f} ms, "
            f"{spent[0] * 1e3:.1f} ms for a small one"
        )


async def _spent(bench: Bench, bodies: list[dict[str, Any]]) -> list[float]:
    app = create_app(bench.engine(), Limits())
    transport = httpx2.ASGITransport(app=app)
    async with (
        app.router.lifespan_context(app), httpx2.AsyncClient(transport=transport, base_url="http://engine") as client,
    ):  # fmt: skip
        return [min([await _one(client, body) for _ in range(TURNS)]) for body in bodies]


async def _one(client: httpx2.AsyncClient, body: dict[str, Any]) -> float:
    request = client.build_request("POST", "/generate", json=body)
    began = time.thread_time()
    await client.send(request)
    return time.thread_time() - began


def _least(work: Callable[[], object]) -> float:
    costs = []
    for _ in range(TURNS):
        began = time.thread_time()
        work()
        costs.append(time.thread_time() - began)
    return min(costs)


def _body(mark: str, file: bytes) -> dict[str, Any]:
    return {"text": f"a{mark}", "image_data": [png_uri(file)], "sampling_params": {"max_new_tokens": 1}}


def _png(rng: np.random.Generator, side: int) -> bytes:
    """Of colours that no compression makes small, so that reading it takes its time."""
    return Picture.of(Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8))).png


LOOP_CHECK = Check("the event loop is free", (18,), event_loop_is_free)
