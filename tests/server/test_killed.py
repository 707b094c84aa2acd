"""kill -9 under load: of the whole server, and of one of the processes that share its model."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.server.launching import Running, launched

pytestmark = [pytest.mark.slow, pytest.mark.e2e]
CLIENTS, MOST_SECONDS = 10, 5.0
LONG = {"input_ids": [5, 6, 7], "sampling_params": {"max_new_tokens": 3900, "ignore_eos": True}}
SHORT = {"input_ids": [5, 6, 7], "sampling_params": {"max_new_tokens": 8, "ignore_eos": True}}


class Load:
    """Clients that wait for long answers, every other one reading a stream."""

    def __init__(self, server: Running) -> None:
        self.ended: dict[int, float] = {}
        self.outcomes: dict[int, Any] = {}
        self._server = server
        self._started = threading.Barrier(CLIENTS + 1)
        self._threads = [threading.Thread(target=self._ask, args=(i,)) for i in range(CLIENTS)]
        for thread in self._threads:
            thread.start()
        self._started.wait(60)

    def _ask(self, number: int) -> None:
        with self._server.client() as client:
            try:
                if number % 2:
                    self._started.wait(60)
                    self.outcomes[number] = client.post("/generate", json=LONG).json()
                else:
                    with client.stream("POST", "/generate", json=LONG | {"stream": True}) as answer:
                        lines = answer.iter_lines()
                        next(lines)
                        self._started.wait(60)
                        self.outcomes[number] = list(lines)[-2:]
            except httpx2.HTTPError as error:
                self.outcomes[number] = error
        self.ended[number] = time.monotonic()

    def join(self) -> None:
        for thread in self._threads:
            thread.join(30)
        assert len(self.ended) == CLIENTS, "somebody still waits"


def is_error(outcome: Any) -> bool:
    return isinstance(outcome, httpx2.HTTPError) or "error" in (outcome[0] if isinstance(outcome, list) else outcome)


def test_the_server_is_killed_and_one_in_its_place_serves(model: Path, tmp_path: Path) -> None:
    port = free_port()
    with launched(model, tmp_path / "log", port=port) as server, server.client() as client:
        expected = client.post("/generate", json=SHORT).json()["output_ids"]
        load = Load(server)
        time.sleep(0.3)
        killed = time.monotonic()
        server.process.kill()
        load.join()
        assert max(load.ended.values()) - killed < MOST_SECONDS
        assert all(isinstance(outcome, httpx2.HTTPError) for outcome in load.outcomes.values())
        with pytest.raises(httpx2.ConnectError):
            client.get("/health")
    with launched(model, tmp_path / "log2", port=port) as server, server.client() as client:
        assert client.get("/health").status_code == 200
        assert client.post("/generate", json=SHORT).json()["output_ids"] == expected


def test_a_process_of_the_engine_is_killed(model: Path, tmp_path: Path, until: Callable[..., None]) -> None:
    port, options = free_port(), ("--tensor-parallel", "2")
    with launched(model, tmp_path / "log", *options, port=port) as server, server.client() as client:
        expected = client.post("/generate", json=SHORT).json()["output_ids"]
        load = Load(server)
        [rank] = [
            pid for pid in children(server.process.pid) if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()
        ]
        killed = time.monotonic()
        os.kill(rank, signal.SIGKILL)
        load.join()
        assert max(load.ended.values()) - killed < MOST_SECONDS
        assert all(map(is_error, load.outcomes.values()))
        health = client.get("/health")
        assert health.status_code == 503
        assert "rank 1 ended with exit code -9" in health.json()["error"]["message"]
        late = client.post("/generate", json=SHORT)
        assert (late.status_code, late.headers["retry-after"]) == (503, "1")
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(20) == 0
        until(lambda: not Path(f"/proc/{rank}").exists())
    with launched(model, tmp_path / "log2", *options, port=port) as server, server.client() as client:
        assert client.get("/health").status_code == 200
        assert client.post("/generate", json=SHORT).json()["output_ids"] == expected


def free_port() -> int:
    """Asked for by number it can be taken again at once, which one that the system picked cannot."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def children(pid: int) -> list[int]:
    return [
        int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()
    ]
