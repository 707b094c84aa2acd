"""``python -m harness.bench.worker FD``: one contestant in its own process, spoken to over a socket.

Each message is ``(verb, arguments)``; each answer ``("ok", result)`` or ``("error", text)``. The process ends when the
other side closes or is gone. Its standard output is a log: libraries may print what they like.
"""

from __future__ import annotations

import gc
import os
import sys
import traceback
from multiprocessing.connection import Connection
from typing import Any

from harness.bench.contestants import Contestant, build


class Worker:
    """Carries out one verb at a time."""

    def __init__(self) -> None:
        self.contestant: Contestant | None = None

    def load(self, kind: str, setup: Any) -> dict[str, str]:
        self.contestant = build(kind, setup)
        gc.collect()
        gc.freeze()  # as servers do: what was loaded is not walked through again, whoever loaded it
        return self.contestant.describe()

    def play(self, prompts: Any, arrivals: Any) -> Any:
        assert self.contestant is not None
        return self.contestant.play(prompts, arrivals)

    def measure(self, name: str, *arguments: Any) -> Any:
        """A figure of this process that is no round: see :mod:`harness.bench.measures`."""
        from harness.bench.measures import MEASURES

        return MEASURES[name](self.contestant, *arguments)


def main(descriptor: int) -> None:
    worker = Worker()
    try:
        with Connection(descriptor) as connection:
            while True:
                verb, arguments = connection.recv()
                connection.send(_carry_out(worker, verb, arguments))
    except (EOFError, OSError):  # nobody asks any more, or waits for the answer
        pass
    finally:
        if worker.contestant is not None:
            worker.contestant.close()


def _carry_out(worker: Worker, verb: str, arguments: tuple[Any, ...]) -> tuple[str, Any]:
    try:
        return "ok", getattr(worker, verb)(*arguments)
    except Exception as error:
        traceback.print_exc()
        return "error", f"{type(error).__name__}: {error}"


if __name__ == "__main__":
    main(int(sys.argv[1]))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # no thread of a library may keep the process, and its memory, for nobody
