"""The ways in which the stand-in engine fails: to start, to answer, to end, and what it leaves behind."""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import signal
import socket
import sys
import tempfile
import time
from http.server import BaseHTTPRequestHandler
from multiprocessing import resource_tracker, shared_memory
from pathlib import Path

LONG = 600.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    start = parser.add_argument_group("failing to start")
    start.add_argument("--says", default="", help="written to the log first")
    start.add_argument("--ends-at-start", choices=["1", "SIGKILL", "SIGSEGV"])
    start.add_argument("--floods-log", type=int, default=0, metavar="MIB")
    start.add_argument("--eats", type=int, default=0, metavar="MIB", help="memory that it fills")
    start.add_argument("--silent", action="store_true", help="never writes a line, never listens")
    start.add_argument("--unhealthy", action="store_true")
    start.add_argument("--claims", metavar="URL", help="tells this address, listens nowhere")
    answer = parser.add_argument_group("failing to answer")
    answer.add_argument("--ledger", type=Path, help="a line for every answer that was written whole")
    answer.add_argument("--after", type=int, default=0, metavar="REQUESTS", help="that many are answered well first")
    answer.add_argument("--then", choices=sorted(ANSWERS), help="what happens to the others")
    leave = parser.add_argument_group("leaving things behind")
    leave.add_argument("--escapes", type=Path, help="an orphan with a session of its own, deaf to SIGTERM; its id here")
    leave.add_argument("--leaks-memory", metavar="NAME", help="a shared-memory segment")
    leave.add_argument("--leaks-socket", action="store_true", help="a socket and a file in the temporary folder")


def at_start(options: argparse.Namespace) -> None:
    if options.escapes:
        escape(options.escapes)
    if options.leaks_memory:
        segment = shared_memory.SharedMemory(options.leaks_memory, create=True, size=4096)
        resource_tracker.unregister(segment._name, "shared_memory")  # type: ignore[attr-defined]
        options.segment = segment
        handed_over = shared_memory.SharedMemory(f"{options.leaks_memory}_{os.getpid()}_0", create=True, size=4096)
        resource_tracker.unregister(handed_over._name, "shared_memory")  # type: ignore[attr-defined]
        handed_over.close()
    if options.leaks_socket:
        os.chdir(tempfile.gettempdir())  # a socket's address is at most 108 bytes, and pytest's folders are deep
        socket.socket(socket.AF_UNIX).bind("engine.sock")
        Path(tempfile.gettempdir(), "engine.tmp").write_text("left")
    if options.silent:
        time.sleep(LONG)
    if options.says:
        write(options.says)
    for _ in range(options.floods_log):
        write("INFO loading, loading, loading\n" * (2**20 // 30))
    options.eaten = b"x" * (options.eats * 2**20)
    if options.claims:
        write(f"assay-engine ready on {options.claims} (stand-in)")
        time.sleep(LONG)
    if options.ends_at_start == "1":
        sys.exit(1)
    if options.ends_at_start == "SIGSEGV":
        ctypes.string_at(0)  # not by a signal to itself: a container's first process is immune to those
    if options.ends_at_start:
        os.kill(os.getpid(), signal.Signals[options.ends_at_start])


def write(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def escape(told: Path) -> None:
    """A process that nobody is the parent of."""
    if os.fork():
        os.wait()
        return
    os.setsid()
    if os.fork():
        os._exit(0)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    told.write_text(str(os.getpid()))
    time.sleep(LONG)
    os._exit(0)


def hang(handler: BaseHTTPRequestHandler) -> None:
    time.sleep(LONG)


def crash(handler: BaseHTTPRequestHandler) -> None:
    write("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB")
    os._exit(1)


def half(handler: BaseHTTPRequestHandler) -> None:
    head(handler, 200, 10_000)
    handler.wfile.write(b'{"text": "1')
    handler.wfile.flush()
    handler.close_connection = True


def trickle(handler: BaseHTTPRequestHandler) -> None:
    """A byte now and then: no pause is long enough to be a time-out."""
    head(handler, 200, 10_000)
    for _ in range(10_000):
        handler.wfile.write(b" ")
        handler.wfile.flush()
        time.sleep(0.1)


def garbage(handler: BaseHTTPRequestHandler) -> None:
    body = b"<html>502 Bad Gateway</html>"
    head(handler, 200, len(body))
    handler.wfile.write(body)


def other_json(handler: BaseHTTPRequestHandler) -> None:
    body = json.dumps({"text": 7, "meta_info": "none", "output_ids": None}).encode()
    head(handler, 200, len(body))
    handler.wfile.write(body)


def refuse(handler: BaseHTTPRequestHandler) -> None:
    tell(handler, 500, "internal error: scheduler gone")


def decline(handler: BaseHTTPRequestHandler) -> None:
    tell(handler, 400, "image_data: no images here")


def tell(handler: BaseHTTPRequestHandler, status: int, message: str) -> None:
    body = json.dumps({"error": {"message": message, "code": status}}).encode()
    head(handler, status, len(body))
    handler.wfile.write(body)


def head(handler: BaseHTTPRequestHandler, status: int, length: int) -> None:
    handler.send_response(status)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", str(length))
    handler.end_headers()


ANSWERS = {
    "hang": hang,
    "crash": crash,
    "half": half,
    "trickle": trickle,
    "garbage": garbage,
    "other-json": other_json,
    "refuse": refuse,
    "decline": decline,
}


def note(options: argparse.Namespace) -> None:
    if options.ledger:
        with options.ledger.open("a") as ledger:
            ledger.write("answered\n")
