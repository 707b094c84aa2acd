"""The measuring side of :mod:`harness.bench.worker`: starts it with the Python and the threads that were asked for.

What a worker prints goes to a log of its own; an error names the contestant and that log.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.bench.contestants.base import Played, Setup
from harness.errors import JobError
from harness.observation import Prompt

ROOT = Path(__file__).parents[2]
STOP_SECONDS = 10.0
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class ContestantFailed(JobError):
    """A contestant could not do what it was told: its own message, and where its log is."""


class WorkerProcess:
    """A contestant's process. A context manager: it is ended on the way out, whatever happened."""

    def __init__(self, name: str, python: str, threads: int, log: Path) -> None:
        self.name, self.log = name, log
        ours, theirs = multiprocessing.Pipe()
        self._connection = ours
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [python, "-m", "harness.bench.worker", str(theirs.fileno())],
                env=environment(threads), cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                pass_fds=[theirs.fileno()], start_new_session=True,
            )  # fmt: skip
        theirs.close()

    def __enter__(self) -> WorkerProcess:
        return self

    def __exit__(self, *exception: object) -> None:
        self._connection.close()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def load(self, kind: str, setup: Setup) -> dict[str, str]:
        """What the contestant says of itself once its model is loaded."""
        return self._ask("load", kind, setup)

    def play(self, prompts: Sequence[Prompt], arrivals: Sequence[float]) -> Played:
        return self._ask("play", tuple(prompts), tuple(arrivals))

    def measure(self, name: str, *arguments: Any) -> Any:
        return self._ask("measure", name, *arguments)

    def _ask(self, verb: str, *arguments: Any) -> Any:
        try:
            self._connection.send((verb, arguments))
            status, result = self._connection.recv()
        except (EOFError, OSError) as error:
            code = None
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = self._process.wait(STOP_SECONDS)
            raise ContestantFailed(
                f"{self.name} ended with code {code} while it was to {verb}; {self._tail()}"
            ) from error
        if status == "error":
            raise ContestantFailed(f"{self.name} could not {verb}: {result}; log: {self.log}")
        return result

    def _tail(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()
        return f"{lines[-1] if lines else '(nothing logged)'}; log: {self.log}"


def environment(threads: int) -> dict[str, str]:
    """This process's own less any engine settings, this checkout importable, the threads set for every library."""
    kept: Mapping[str, str] = {name: value for name, value in os.environ.items() if not name.startswith("ASSAY_")}
    paths = [str(ROOT), *filter(None, [kept.get("PYTHONPATH")])]
    return {**kept, "PYTHONPATH": os.pathsep.join(paths), **dict.fromkeys(THREAD_VARIABLES, str(threads))}
