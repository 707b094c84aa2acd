"""Two small HTTP servers: one that a target may fetch pictures from, and one inside that it may not, which counts who
comes. The first sends whoever asks for ``/elsewhere`` to the second.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from PIL import Image

from harness.observation import Picture

HOST = "127.0.0.1"


class Canary:
    def __init__(self) -> None:
        self.visits: list[str] = []
        """Paths that were asked for inside."""
        self._inside = ThreadingHTTPServer((HOST, 0), self._handler(self._tell_inside))
        self._door = ThreadingHTTPServer((HOST, 0), self._handler(self._tell_at_the_door))
        for server in (self._inside, self._door):
            Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        for server in (self._inside, self._door):
            server.shutdown()
            server.server_close()

    @property
    def door(self) -> str:
        """Host and port that the target is told it may fetch from."""
        return f"{HOST}:{self._door.server_port}"

    @property
    def inside(self) -> str:
        return f"{HOST}:{self._inside.server_port}"

    @cached_property
    def _picture(self) -> bytes:
        return Picture.of(Image.new("RGB", (84, 56), "teal")).png

    def _tell_inside(self, asked: BaseHTTPRequestHandler) -> None:
        self.visits.append(asked.path)
        self._send(asked, 200)

    def _tell_at_the_door(self, asked: BaseHTTPRequestHandler) -> None:
        self._send(asked, 302 if asked.path == "/elsewhere" else 200)

    def _send(self, asked: BaseHTTPRequestHandler, status: int) -> None:
        asked.send_response(status)
        asked.send_header("Location", f"http://{self.inside}/redirected")
        asked.send_header("Content-Length", str(len(self._picture)))
        asked.end_headers()
        asked.wfile.write(self._picture)

    @staticmethod
    def _handler(tell: Callable[[BaseHTTPRequestHandler], None]) -> type[BaseHTTPRequestHandler]:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                tell(self)

            def log_message(self, format: str, *args: object) -> None:
                """Nothing: what came is kept in ``visits``."""

        return Handler
