"""The line to a server: few requests, counted and timed, and no surprise: what goes wrong is an answer too.

>>> line = Line("http://127.0.0.1:8000", key=None, requests=400, seconds=60, time_limit=900)
>>> line.get("/v1/models").status
200
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx2

from harness.errors import UsageError
from harness.event_stream import data_in

TOGETHER = 8
"""Requests in flight at once, at most."""
MOST_BYTES = 64 << 20
HERE = ("127.0.0.1", "localhost", "::1")
ENDINGS = re.compile(r"(/v1(/(chat/completions|completions|models))?)?/*$")


class Spent(Exception):
    """The requests or the time that this probe may take are used up."""


class Gone(Exception):
    """The server does not take connections."""


@dataclass(frozen=True)
class Answer:
    """``status`` 0: there was no answer, and ``body`` says why."""

    status: int
    body: Any
    events: list[Any] = field(default_factory=list)
    """Of a stream: its JSON events in order."""

    @property
    def ok(self) -> bool:
        return self.status == 200

    @property
    def told(self) -> str:
        """What the server says went wrong, short."""
        body = self.body
        for name in ("error", "detail", "message"):
            body = body.get(name, body) if isinstance(body, Mapping) else body
        text = " ".join((body if isinstance(body, str) else json.dumps(body)).split())
        return text[:200]

    def get(self, name: str, default: Any = None) -> Any:
        return self.body.get(name, default) if isinstance(self.body, Mapping) else default


def address(url: str) -> str:
    """Where the server is, without the endpoint that the caller may have copied along."""
    url = url if "//" in url else f"http://{url}"
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(f"url: {url!r} is no http address, such as http://127.0.0.1:8000")
    return ENDINGS.sub("", url.partition("?")[0])


class Line:
    """``requests`` and ``time_limit`` (seconds) are for all of it, ``seconds`` for one answer."""

    def __init__(self, url: str, *, key: str | None, requests: int, seconds: float, time_limit: float) -> None:
        self.url = address(url)
        self.sent = 0
        self.on_request: Callable[[], None] = lambda: None
        self._requests, self._seconds, self._end = requests, seconds, time.monotonic() + time_limit
        headers = {"authorization": f"Bearer {key}"} if key else {}
        here = urlsplit(self.url).hostname in HERE
        self._client = httpx2.Client(base_url=self.url, headers=headers, timeout=seconds, trust_env=not here)

    def close(self) -> None:
        self._client.close()

    def get(self, path: str) -> Answer:
        return self._send("GET", path, None)

    def post(self, path: str, body: Any) -> Answer:
        return self._send("POST", path, body)

    def together(self, calls: Sequence[tuple[str, Any]]) -> list[Answer]:
        with ThreadPoolExecutor(TOGETHER) as pool:
            return list(pool.map(lambda call: self.post(*call), calls))

    def _left(self) -> float:
        return self._end - time.monotonic()

    def _send(self, method: str, path: str, body: Any) -> Answer:
        if self.sent >= self._requests:
            raise Spent(f"{self._requests} requests are used up (--requests)")
        if self._left() <= 0:
            raise Spent("the time limit is reached (--time-limit)")
        self.sent += 1
        self.on_request()
        end = time.monotonic() + min(self._seconds, self._left())
        try:
            timeout = max(0.1, end - time.monotonic())
            with self._client.stream(method, path, json=body, timeout=timeout) as answer:
                return _read(answer, end)
        except httpx2.ConnectError as error:
            raise Gone(f"no connection is taken ({error})") from None
        except httpx2.TimeoutException:
            if self._left() <= 0:
                raise Spent("the time limit is reached (--time-limit)") from None
            return Answer(0, f"no answer within {self._seconds:.0f} s (--request-timeout)")
        except httpx2.HTTPError as error:
            return Answer(0, f"{type(error).__name__}: {error}")


def _read(answer: httpx2.Response, end: float) -> Answer:
    raw = bytearray()
    for piece in answer.iter_bytes():
        raw += piece
        if time.monotonic() > end:
            raise httpx2.ReadTimeout("the answer goes on and on")
        if len(raw) > MOST_BYTES:
            return Answer(0, f"an answer of more than {MOST_BYTES >> 20} MiB")
    if answer.headers.get("content-type", "").startswith("text/event-stream"):
        return Answer(answer.status_code, "", list(_events(data_in([bytes(raw)]))))
    text = raw.decode("utf-8", "replace")
    body: Any = text
    with suppress(ValueError):
        body = json.loads(text)
    return Answer(answer.status_code, body)


def _events(found: Iterable[bytes]) -> Iterable[Any]:
    for data in found:
        with suppress(ValueError):
            yield json.loads(data.decode("utf-8", "replace"))
