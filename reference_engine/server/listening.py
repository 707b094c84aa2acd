"""A bound socket, and uvicorn on it until a signal ends it.

The address is taken before the model is loaded, so a port in use is known at once and ``--port 0`` has no race. Nothing
is accepted until the engine is ready; then one line says so. SIGTERM and SIGINT stop accepting, let running requests
end for a while, abort the rest, whose clients get what was made so far, and end the engine's thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from functools import partial
from types import TracebackType
from typing import Any

import uvicorn

from reference_engine.server.connections import Connection
from reference_engine.server.limits import Limits

KEEP_ALIVE_SECONDS = 75
BACKLOG = 2048
LAST_WORDS_SECONDS = 3
"""What answers that were aborted have to reach their clients, before connections are cut."""


class ListenError(OSError):
    """The address cannot be listened on; the message names host and port."""


class Listener:
    def __init__(self, host: str, port: int) -> None:
        self._named = f"{host}:{port}"
        self.socket = self._bind(host, port)
        bound = self.socket.getsockname()[1]
        self.url = f"http://[{host}]:{bound}" if ":" in host else f"http://{host}:{bound}"

    def __enter__(self) -> Listener:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.socket.close()

    def listen(self) -> None:
        try:
            self.socket.listen(BACKLOG)
        except OSError as error:
            raise self._refusal(error) from None

    def _bind(self, host: str, port: int) -> socket.socket:
        try:
            family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            bound = socket.socket(family, kind, protocol)
        except OSError as error:
            raise self._refusal(error) from None
        try:
            if (
                port
            ):  # a port that the last server has just left is free; one that the kernel picks must be nobody else's
                bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind(address)
        except OSError as error:
            bound.close()
            raise self._refusal(error) from None
        return bound

    def _refusal(self, error: OSError) -> ListenError:
        if error.errno == errno.EADDRINUSE:
            return ListenError(
                f"{self._named} is in use; stop what listens there, or choose another --port (0 takes a free one)"
            )
        return ListenError(f"cannot listen on {self._named}: {error.strerror or error}")


def configured(app: Any, limits: Limits, *, drain_seconds: int) -> uvicorn.Config:
    return uvicorn.Config(
        app, log_config=None, access_log=False, lifespan="on", timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=drain_seconds, ws="none",
        http=partial(Connection, limits=limits),  # type: ignore[arg-type]
    )  # fmt: skip


def serve(
    app: Any, listener: Listener, limits: Limits, *, drain_seconds: int, ready: Callable[[], str],
    abort: Callable[[], object],
) -> int:  # fmt: skip
    """Exit code: 0, or 130 after SIGINT. ``abort`` ends all requests that run."""
    listener.listen()
    config = configured(app, limits, drain_seconds=drain_seconds + LAST_WORDS_SECONDS)
    server = _Server(config, lambda: f"assay-engine ready on {listener.url} {ready()}", drain_seconds, abort)
    server.run(sockets=[listener.socket])
    return 130 if server.ended_by == signal.SIGINT else 0


class _Server(uvicorn.Server):
    """uvicorn, which says when it is ready, and which returns after a signal instead of raising it again."""

    def __init__(
        self, config: uvicorn.Config, ready: Callable[[], str], drain_seconds: int, abort: Callable[[], object]
    ) -> None:
        super().__init__(config)
        self._drain_seconds, self._abort = drain_seconds, abort
        self._ready = ready
        self.ended_by: int | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        print(self._ready(), file=sys.stderr, flush=True)  # noqa: T201

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        aborting = asyncio.get_running_loop().call_later(self._drain_seconds, self._abort)
        try:
            await super().shutdown(sockets)
        finally:
            aborting.cancel()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        def end(number: int, frame: Any) -> None:
            self.ended_by = self.ended_by or number
            self.handle_exit(number, frame)

        before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
