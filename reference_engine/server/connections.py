"""One client's connection: uvicorn's own, which waits only so long for whoever is slow, and refuses in JSON.

A request that is hardly HTTP gets 400, one whose head takes too long 408, and the connection ends; a body has its own
limit (``bodies``). A client that takes nothing of what there is for it, events or one large answer, is cut off: until
then the answer is held in memory.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from reference_engine.server.errors import plain_error_body
from reference_engine.server.limits import Limits


class Connection(H11Protocol):
    def __init__(self, *arguments: Any, limits: Limits, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._limits = limits
        self._deadline: asyncio.TimerHandle | None = None
        """Of the head that is awaited."""
        self._patience: asyncio.TimerHandle | None = None
        """With a reader who is behind."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect_head()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.their_state is h11.IDLE:
            self._expect_head()
        else:
            self._forget_deadline()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget_deadline()
        self._forget_patience()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._expect_reading()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._forget_patience()

    def send_400_response(self, msg: str) -> None:
        self._refuse(400, msg)

    def _expect_head(self) -> None:
        """From its first byte on: more of them, however slowly, give it no more time."""
        if self._deadline is None:
            self._deadline = self.loop.call_later(self._limits.head_seconds, self._too_slow)

    def _forget_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_slow(self) -> None:
        self._refuse(408, f"the head of the request took more than {self._limits.head_seconds} s to arrive")

    def _expect_reading(self) -> None:
        unread = self.transport.get_write_buffer_size()
        self._patience = self.loop.call_later(self._limits.reader_seconds, self._look_again, unread)

    def _look_again(self, unread: int) -> None:
        if self.transport.get_write_buffer_size() < unread:
            self._expect_reading()
        else:
            self.transport.abort()

    def _forget_patience(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _refuse(self, status: int, message: str) -> None:
        """An answer that has begun is cut: nothing can be said any more."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            body = json.dumps(plain_error_body(status, message, "request")).encode()
            headers = [
                ("content-type", "application/json"),
                ("content-length", str(len(body))),
                ("connection", "close"),
            ]
            for event in (h11.Response(status_code=status, headers=headers), h11.Data(data=body), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()
