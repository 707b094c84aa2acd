"""An implementation that lives in an environment of its own: functions called in a worker process over JSON lines.

The worker is started with that environment's Python and ends with this process. A call that the engine refuses raises
:class:`Refusal` with the engine's words; a worker that dies raises :class:`WorkerDied` with the end of what it said.
"""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import tempfile
from base64 import b64encode
from collections.abc import Callable, Sequence
from dataclasses import astuple
from functools import partial
from pathlib import Path
from typing import Any

from harness.implementations.base import (
    Answered,
    Expansion,
    ImageGeometry,
    Implementation,
    Picture,
    Positions,
    Refusal,
    Row,
    Segment,
    Size,
    Span,
    Unsupported,
)  # fmt: skip

WORKERS = Path(__file__).with_name("workers")


class WorkerDied(RuntimeError):
    """The worker process ended; says how, and what it said last."""


class Worker:
    """One process of another environment. ``call`` is not for two threads at once."""

    def __init__(self, python: str, functions: str) -> None:
        self._said = tempfile.TemporaryFile("w+")  # noqa: SIM115  open as long as the worker runs
        environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
        try:
            self._process = subprocess.Popen(
                [python, str(WORKERS / "loop.py"), functions], env=environment, text=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._said,
            )  # fmt: skip
        except OSError as error:
            self._said.close()
            raise ImportError(f"{python} cannot be run: {error.strerror}") from error
        atexit.register(self.close)
        try:
            self.greeting = self._read()
        except WorkerDied as error:
            self.close()
            raise ImportError(str(error)) from error

    def call(self, name: str, *arguments: Any) -> Any:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"call": name, "arguments": arguments}) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # how it ended is told by reading
        answer = self._read()
        if "refused" in answer:
            raise Refusal(answer["refused"])
        if "unsupported" in answer:
            raise Unsupported(answer["unsupported"])
        return answer["value"]

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if line:
            return dict(json.loads(line))
        code = self._process.wait()
        self._said.seek(0)
        last = "\n".join(self._said.read().splitlines()[-8:])
        raise WorkerDied(f"the worker {self._process.args!r} ended with exit code {code}\n{last}")

    def close(self) -> None:
        """End the process; may be called twice."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._said):
            if stream is not None:
                stream.close()


def _expand(worker: Worker, ids: Sequence[int], placeholder: int, replacements: Sequence[Sequence[int]]) -> Expansion:
    expanded, spans = worker.call("expand_ids", list(ids), placeholder, [list(r) for r in replacements])
    return Expansion(expanded, _spans(spans))


def _offsets(worker: Worker, ids: Sequence[int], placeholder: int, counts: Sequence[Sequence[int]]) -> list[list[Span]]:
    return _spans(worker.call("find_offsets", list(ids), placeholder, counts))


def _positions(worker: Worker, *arguments: Any) -> Positions:
    rows, delta = worker.call("place_positions", *arguments)
    return Positions(rows, delta)


def _segments(worker: Worker, family: str, segments: Sequence[Segment], padding: int) -> Positions:
    """Padding stays here: the engines take one prompt at a time."""
    told = [[part.kind, part.length, part.grid, part.seconds] for part in segments]
    rows, delta = worker.call("place_segments", family, told)
    return Positions(rows, delta)


def _window(worker: Worker, positions: Positions, start: int, stop: int) -> list[list[int]]:
    return list(worker.call("window_positions", positions.rows, positions.delta, start, stop))


def _split(
    worker: Worker, rows: Sequence[Row], row_counts: Sequence[Sequence[int]], placeholders: Sequence[Sequence[int]]
) -> list[list[Row] | Refusal]:
    try:
        parts = worker.call("split_rows", rows, row_counts, placeholders)
    except Refusal as error:
        return [error for _ in placeholders]  # the whole batch failed, and with it every item in it
    return [part if isinstance(part, Refusal) else [tuple(row) for row in part] for part in parts]


def _stream(worker: Worker, vocabulary: Sequence[bytes], special: Sequence[int], ids: Sequence[int]) -> list[str]:
    return list(worker.call("stream_text", [token.hex() for token in vocabulary], special, ids))


def _decode(
    worker: Worker, kind: str, vocabulary: Sequence[bytes], special: Sequence[int], sequences: Sequence[Sequence[int]],
    skip_special: bool,
) -> list[str]:  # fmt: skip
    spelled = [token.hex() for token in vocabulary]
    return list(worker.call("decode_batch", kind, spelled, special, sequences, skip_special))


def _read_image(worker: Worker, data: bytes) -> Picture:
    (width, height), pixels = worker.call("read_image", b64encode(data).decode())
    return Picture((width, height), [tuple(pixel) for pixel in pixels])


def _reuse(worker: Worker, rows: Sequence[Any], delta: int, length: int) -> Positions | None:
    found = worker.call("reuse_positions", rows, delta, length)
    return None if found is None else Positions(*found)


def _write_answer(worker: Worker, way: str, answer: Answered) -> dict[str, Any]:
    return dict(worker.call("write_answer", way, astuple(answer)))


def _count(worker: Worker, sizes: Sequence[Size], geometry: ImageGeometry) -> list[list[int]]:
    return list(worker.call("count_tokens", sizes, astuple(geometry)))


def _spans(spans: Sequence[Sequence[Sequence[int]]]) -> list[list[Span]]:
    return [[(start, end) for start, end in item] for item in spans]


_TRANSLATED: dict[str, Callable[..., Any]] = {
    "expand_ids": _expand, "find_offsets": _offsets, "place_positions": _positions, "window_positions": _window,
    "place_segments": _segments, "split_rows": _split, "stream_text": _stream, "decode_batch": _decode,
    "read_image": _read_image, "reuse_positions": _reuse, "write_answer": _write_answer, "count_tokens": _count,
}  # fmt: skip


def remote_implementation(name: str, python: str) -> Implementation:
    """The engine installed for ``python``. Raises :class:`ImportError`, with its words, where it cannot start."""
    worker = Worker(python, f"{name}_functions")
    offered: dict[str, Any] = {
        offer: partial(_TRANSLATED[offer], worker) if offer in _TRANSLATED else partial(worker.call, offer)
        for offer in worker.greeting["offers"]
    }
    families = worker.greeting["families"]
    return Implementation(name=name, version=worker.greeting["version"], families=families, **offered)
