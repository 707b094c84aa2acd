"""Servers, asked over HTTP: the reference engine's own, and ``transformers serve``, which gives text and no ids.

The processor time is that of the server's session of processes, read from ``/proc``; the asking is not counted.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import httpx2

from harness.bench.contestants.base import Contestant, Door, Setup
from harness.launch.process import ServerProcess
from harness.launch.running import wait_ready
from harness.observation import Prompt
from harness.targets.base import Launch, LaunchLine
from harness.targets.reference import ReferenceTarget
from harness.targets.wire import chat_messages, free_port

READY_SECONDS = 240.0
ANSWER_SECONDS = 600.0


class Served(Contestant):
    """A server as a child. A subclass launches it and words one request."""

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self._logs = tempfile.TemporaryDirectory(prefix="assay-bench-")
        self.server = self.launch(Path(self._logs.name) / "server.log")

    def launch(self, log: Path) -> ServerProcess:
        raise NotImplementedError

    async def ask(self, client: httpx2.AsyncClient, prompt: Prompt) -> tuple[list[int] | None, str | None]:
        """Ids or text of one answer."""
        raise NotImplementedError

    def start(self, line: LaunchLine, log: Path, url: str | None = None) -> ServerProcess:
        threads = {"OMP_NUM_THREADS": str(self.setup.threads)}
        server = ServerProcess(log.stem, LaunchLine(line.argv, dict(line.env) | threads), log)
        server.start()
        wait_ready([server], lambda text: url or ReferenceTarget().ready_url(text), "/health", READY_SECONDS)
        return server

    def serve(self, door: Door) -> None:
        asyncio.run(self._serve(door))

    async def _serve(self, door: Door) -> None:
        limits = httpx2.Limits(max_connections=256)
        async with (
            httpx2.AsyncClient(
                base_url=self.server.url, timeout=ANSWER_SECONDS, trust_env=False, limits=limits
            ) as client,
            asyncio.TaskGroup() as group,
        ):
            while door.is_open:
                await asyncio.to_thread(door.wait)
                for prompt in door.arrived():
                    group.create_task(self._answer(client, door, prompt))

    async def _answer(self, client: httpx2.AsyncClient, door: Door, prompt: Prompt) -> None:
        ids, text = await self.ask(client, prompt)
        door.answer(prompt.name, ids, text)

    def cpu_seconds(self) -> float | None:
        return session_cpu_seconds(self.server.pid)

    def close(self) -> None:
        self.server.stop()
        self._logs.cleanup()


class OursServer(Served):
    packages: ClassVar[tuple[str, ...]] = ("vlm-assay", "torch", "transformers")

    def launch(self, log: Path) -> ServerProcess:
        options = {"device": self.setup.device, "dtype": self.setup.dtype}
        options |= {name: _word(value) for name, value in self.setup.options.items()}
        return self.start(ReferenceTarget().launch_line(Launch(self.setup.model, options=options)), log)

    async def ask(self, client: httpx2.AsyncClient, prompt: Prompt) -> tuple[list[int] | None, str | None]:
        call = ReferenceTarget().call(prompt, evidence=False, stream=False)
        body = await _post(client, call.path, call.body)
        return body["output_ids"], None


class TransformersServe(Served):
    def launch(self, log: Path) -> ServerProcess:
        port = free_port("127.0.0.1")
        flags = ("--host", "127.0.0.1", "--port", str(port), "--device", self.setup.device, "--dtype", self.setup.dtype)
        command = (sys.executable, "-m", "harness.bench.contestants.transformers_server")
        line = LaunchLine((*command, self.setup.model, *flags), {"HF_HUB_OFFLINE": "1"})
        return self.start(line, log, f"http://127.0.0.1:{port}")

    async def ask(self, client: httpx2.AsyncClient, prompt: Prompt) -> tuple[list[int] | None, str | None]:
        body = await _post(client, "/v1/chat/completions", {
            "model": self.setup.model, "messages": chat_messages(prompt),
            "max_tokens": prompt.max_new_tokens, "temperature": 0.0,
        })  # fmt: skip
        return None, body["choices"][0]["message"]["content"]


async def _post(client: httpx2.AsyncClient, path: str, body: Mapping[str, Any]) -> Any:
    answer = await client.post(path, json=body)
    if answer.status_code != 200:
        raise RuntimeError(f"POST {path}: {answer.status_code} {answer.text[:300]}")
    return answer.json()


def _word(value: Any) -> str:
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else str(value)


def session_cpu_seconds(session: int) -> float | None:
    """User and system time of every living process of a session, and of the children it has waited for (Linux)."""
    if not sys.platform.startswith("linux"):
        return None
    ticks = 0
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = entry.read_text().rpartition(")")[2].split()
            if int(fields[3]) == session:
                ticks += sum(int(field) for field in fields[11:15])
    return ticks / os.sysconf("SC_CLK_TCK")
