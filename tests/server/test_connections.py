"""What comes before a body: the head of a request, however slow, and bytes that are hardly HTTP."""

from __future__ import annotations

import asyncio
import json
import select
import socket
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from http.client import HTTPResponse, IncompleteRead
from typing import Any

import httpx2
import pytest

from reference_engine.server.connections import Connection

Serve = Callable[..., AbstractContextManager[httpx2.Client]]


def connected(client: httpx2.Client) -> socket.socket:
    return socket.create_connection((client.base_url.host, client.base_url.port or 80), timeout=20)


def rest(raw: socket.socket) -> bytes:
    found = b""
    with suppress(ConnectionResetError):  # where not all that was sent has been read
        while part := raw.recv(65536):
            found += part
    return found


def status(raw: socket.socket) -> int:
    """Of one answer, read to its end."""
    answer = HTTPResponse(raw)
    answer.begin()
    answer.read()
    return answer.status


def refusal(answer: bytes) -> tuple[int, Any]:
    """Status and error of the last answer in these bytes."""
    head, _, body = answer[answer.rindex(b"HTTP/1.1 ") :].partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)["error"]


@pytest.mark.parametrize("sent", [b"", b"POST /generate HTT", b"GET /health HTTP/1.1\r\nHost: x\r\n"])
def test_a_head_that_never_ends_is_refused(echo: Any, serve: Serve, sent: bytes) -> None:
    with serve(echo, head_seconds=1) as client, connected(client) as raw:
        raw.sendall(sent)
        code, error = refusal(rest(raw))
        assert (code, error["param"], error["type"]) == (408, "request", "invalid_request_error")
        assert "took more than 1 s" in error["message"]
        assert client.get("/health").status_code == 200


def test_more_bytes_give_a_head_no_more_time(echo: Any, serve: Serve) -> None:
    with serve(echo, head_seconds=1) as client, connected(client) as raw:
        raw.sendall(b"GET /health HTTP/1.1\r\n")
        answered = False
        for number in range(1000):
            raw.sendall(b"X-%d: a\r\n" % number)
            if answered := bool(select.select([raw], [], [], 0.02)[0]):
                break
        assert answered
        assert raw.recv(65536).startswith(b"HTTP/1.1 408")


def test_the_second_head_of_a_connection_has_its_own_time_and_an_answer_has_none(echo: Any, serve: Serve) -> None:
    body = b'{"text": "a"}'
    asking = b"POST /generate HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    with serve(echo, head_seconds=1) as client, connected(client) as raw:
        echo.go.clear()
        raw.sendall(asking)
        time.sleep(1.3)  # while it runs, no head is awaited
        echo.go.set()
        assert status(raw) == 200
        time.sleep(1.3)  # nor is one before its first byte: the connection is kept alive
        raw.sendall(asking)
        assert status(raw) == 200
        raw.sendall(b"POST /gen")
        assert refusal(rest(raw))[0] == 408


@pytest.mark.parametrize(
    "sent",
    [
        b"hello\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 2_000_000,
        b"POST /generate HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        b"POST /generate HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        b"POST /generate HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
def test_what_is_hardly_http_is_refused_in_json(client: httpx2.Client, sent: bytes) -> None:
    with connected(client) as raw:
        with suppress(OSError):
            raw.sendall(sent)
        code, error = refusal(rest(raw))
    assert (code, error["param"], error["code"]) == (400, "request", 400)


SAMPLING = {"n": 32, "max_new_tokens": 200}
LARGE = json.dumps({"input_ids": [65] * 200, "sampling_params": SAMPLING, "return_logprob": True})
ASKING_LARGE = f"POST /generate HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(LARGE)}\r\n\r\n{LARGE}"


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> Callable[[httpx2.Client], socket.socket]:
    """Connections that hold little of what is not read, at either end."""
    made = Connection.connection_made

    def made_small(self: Connection, transport: asyncio.Transport) -> None:
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        made(self, transport)

    def connect(client: httpx2.Client) -> socket.socket:
        raw = socket.socket()
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.settimeout(60)
        raw.connect((client.base_url.host, client.base_url.port))
        return raw

    monkeypatch.setattr(Connection, "connection_made", made_small)
    return connect


def test_a_reader_of_one_large_answer_that_takes_nothing_is_cut_off(
    echo: Any, serve: Serve, until: Any, narrow: Any
) -> None:
    with serve(echo, reader_seconds=1) as client, narrow(client) as raw:
        raw.sendall(ASKING_LARGE.encode())
        until(lambda: echo.batches and not echo.has_work())
        time.sleep(3)
        answer = HTTPResponse(raw)
        answer.begin()
        with pytest.raises(IncompleteRead):
            answer.read()


def test_a_slow_reader_gets_it_all(echo: Any, serve: Serve, narrow: Any) -> None:
    with serve(echo, reader_seconds=1) as client, narrow(client) as raw:
        raw.sendall(ASKING_LARGE.encode())
        found = raw.recv(4096)
        began = time.monotonic()
        while part := raw.recv(1024 if time.monotonic() < began + 3 else 2**20):
            found += part
            if time.monotonic() < began + 3:
                time.sleep(0.02)
    assert len(json.loads(found.partition(b"\r\n\r\n")[2])) == 32


def test_noise_after_an_answer_that_came_early_ends_the_connection(
    client: httpx2.Client, caplog: pytest.LogCaptureFixture
) -> None:
    """The type is refused while the body still comes; nothing can be said of the rest of it."""
    head = b"POST /generate HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n"
    with connected(client) as raw:
        raw.sendall(head)
        assert status(raw) == 415
        raw.sendall(b"zz\r\n")
        assert rest(raw) == b""
    assert not [record for record in caplog.records if record.exc_info]
