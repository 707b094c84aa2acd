"""Hostile requests: each is answered 2xx, or 4xx with a JSON error naming a field; nobody else notices."""

from __future__ import annotations

import base64
import re
import socket
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import httpx2
import pytest

from reference_engine import Engine, EngineConfig
from reference_engine.server.limits import Limits
from tests.server.conftest import served
from tests.server.hostile_bodies import GENERATE, SLOT, Case, cases
from tests.server.hostile_pictures import plain, saved
from tests.server.launching import launched

CASES = list(cases())


def complaint(case: Case, answer: httpx2.Response) -> str | None:
    """What is wrong with an answer."""
    status = answer.status_code
    if 200 <= status < 300:
        return f"{status}, but it should be refused" if case.refused else None
    if not 400 <= status < 500 or case.refused is False:
        return f"{status} {answer.text[:300]}"
    if len(answer.content) > 2000:
        return f"{status} with an answer of {len(answer.content)} bytes"
    try:
        error = answer.json()["error"]
    except (ValueError, KeyError, TypeError):
        return f"{status} without a JSON error: {answer.text[:300]}"
    named = error["param"]
    if not (isinstance(named, str) and named and error["message"] and error["code"] == status):
        return f"{status} names no field: {error}"
    return f"{status} names {named}, not {case.field}" if case.field not in (None, named) else None


def send(client: httpx2.Client, case: Case) -> str | None:
    headers = {"content-type": "application/json"} | case.headers
    wrong = complaint(case, client.post(case.path, content=case.content, headers=headers))
    return wrong and f"{case.name}: {wrong}"


@pytest.fixture(scope="module")
def client(model: Path) -> Iterator[httpx2.Client]:
    engine = Engine(EngineConfig(model=str(model), num_blocks=256, check_every_step=True))
    with served(engine, Limits()) as client:
        yield client


def test_there_are_enough_and_no_two_have_one_name() -> None:
    assert len(CASES) >= 300
    assert max(Counter(case.name for case in CASES).values()) == 1


def test_one_in_seven_of_each_kind(client: httpx2.Client) -> None:
    wrong = [send(client, case) for case in CASES[::7]]
    assert not any(wrong), "\n".join(filter(None, wrong))
    assert client.get("/health").status_code == 200


RAW: dict[str, bytes] = {
    "no http": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(99),
    "words": b"hello\r\n\r\n",
    "version": b"GET /health HTTP/9.9\r\nHost: x\r\n\r\n",
    "no host": b"POST /generate HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}",
    "negative length": b"POST /generate HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
    "two lengths": b"POST /generate HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "length and chunks": b"POST /generate HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n{}",
    "odd chunk": b"POST /generate HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
    "huge chunk": b"POST /generate HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n{}",
    "long header": b"GET /health HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 200_000 + b"\r\n\r\n",
    "many headers": b"GET /health HTTP/1.1\r\nHost: x\r\n" + b"X: a\r\n" * 30_000 + b"\r\n",
    "long path": b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    "odd path": b"GET /%00%ff%ed%a0%80/../..//etc HTTP/1.1\r\nHost: x\r\n\r\n",
    "absolute": b"GET http://169.254.169.254/ HTTP/1.1\r\nHost: x\r\n\r\n",
    "upgrade": b"GET /generate HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    "websocket": b"GET /generate HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n",
    "expect": b"POST /generate HTTP/1.1\r\nHost: x\r\nExpect: 200-ok\r\nContent-Length: 2\r\n\r\n{}",
    "half a body": b'POST /generate HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n{"text"',
    "two at once": b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n" * 50,
}


def send_raw(client: httpx2.Client, sent: bytes) -> None:
    """Written, half closed, and read to the end. Whatever comes is no 5xx."""
    with socket.create_connection((client.base_url.host, client.base_url.port or 80), timeout=20) as raw:
        with suppress(OSError):
            raw.sendall(sent)
            raw.shutdown(socket.SHUT_WR)
        found = b""
        with suppress(ConnectionResetError):
            while part := raw.recv(65536):
                found += part
    assert not re.search(rb"^HTTP/1.1 5", found, re.MULTILINE), found[:500]


@pytest.mark.parametrize("name", RAW)
def test_bytes_that_are_hardly_http(client: httpx2.Client, name: str) -> None:
    send_raw(client, RAW[name])
    assert client.get("/health").status_code == 200


def hang_up(client: httpx2.Client, stream: bool) -> None:
    """In the middle of the answer."""
    body = {"text": "a", "sampling_params": {"max_new_tokens": 3000, "ignore_eos": True}, "stream": stream}
    with suppress(httpx2.TimeoutException), client.stream("POST", GENERATE, json=body, timeout=0.3) as answer:
        next(answer.iter_lines())


GOOD = [
    {"text": SLOT * images + f"read {words}", "sampling_params": {"max_new_tokens": 40, "ignore_eos": True},
     "image_data": [base64.b64encode(saved(plain(56 + 28 * words, 28), "png")).decode()] * images}
    for words, images in enumerate([0, 1, 2, 0, 3, 1, 0, 1, 2, 1])
]  # fmt: skip


@pytest.mark.slow
def test_all_of_them_while_others_are_served(model: Path, tmp_path: Path) -> None:
    """Ten good requests are in flight all the time, and come out as alone. Memory and counters are as before: what is
    lost, is lost every time, while an allocator keeps what one of its arenas has needed once."""
    with launched(model, tmp_path / "log", "--check-every-step", "on") as server, server.client() as client:
        ids = [client.post(GENERATE, json=body).json()["output_ids"] for body in GOOD]
        memory = []
        for _ in range(4):
            everything(client, ids)
            memory.append(server.resident >> 20)
        assert min(later - earlier for earlier, later in pairwise(memory)) < 16, f"MB after each round: {memory}"
        values = dict(line.rsplit(" ", 1) for line in client.get("/metrics").text.splitlines() if line[0] != "#")
        assert float(values["assay_running"]) == float(values["assay_waiting"]) == 0
        assert values["assay_blocks_free"] == values["assay_blocks_total"]
        said = server.log.read_text()
        assert "Traceback" not in said
        assert GOOD[1]["image_data"][0][:60] not in said  # type: ignore[index]


def everything(client: httpx2.Client, ids: Sequence[list[int]]) -> None:
    """All hostile requests, one after the other, while the good ones are asked again and again."""
    ended = threading.Event()

    def ask(number: int) -> int:
        count = 0
        while not ended.is_set():
            assert client.post(GENERATE, json=GOOD[number]).json()["output_ids"] == ids[number]
            count += 1
        return count

    with ThreadPoolExecutor(len(GOOD)) as pool:
        asking = [pool.submit(ask, number) for number in range(len(GOOD))]
        try:
            wrong = [send(client, case) for case in CASES]
            for sent in RAW.values():
                send_raw(client, sent)
            for stream in (True, False) * 3:
                hang_up(client, stream)
        finally:
            ended.set()
        assert not any(wrong), "\n".join(filter(None, wrong))
        assert all(one.result() > 0 for one in asking)
