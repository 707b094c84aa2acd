"""What the generator itself costs and misses, so that its own limits are not taken for the server's.

A heartbeat on the same event loop tells by how much any time that was taken may be late; processor time tells how
near the generator was to all that one process can do; :func:`top_rate` is what it reaches against a server that does
nothing.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np

from harness.load.timing import Load, Timing
from harness.observation import Prompt
from harness.targets.base import Target

BEAT_SECONDS = 0.01
MOST_PROCESSOR_SHARE = 0.8
LATE_SHARE = 0.1
LATE_SECONDS = 0.002
"""Below this nothing is called late: event loops and kernels wake up no more exactly."""
MOST_OF_TOP_RATE = 0.5


class Watch:
    """Heartbeat and processor time of one load."""

    def __init__(self) -> None:
        self._late: list[float] = []
        self._wall = self._processor = 0.0

    async def beat(self) -> None:
        while True:
            due = time.perf_counter() + BEAT_SECONDS
            await asyncio.sleep(BEAT_SECONDS)
            self._late.append(time.perf_counter() - due)

    def start(self) -> None:
        self._wall, self._processor = time.perf_counter(), time.process_time()

    def stop(self) -> None:
        self._wall, self._processor = time.perf_counter() - self._wall, time.process_time() - self._processor

    def told(self, timings: Sequence[Timing]) -> dict[str, float]:
        """``late_p99``: of the heartbeat. ``cpu_ms_a_request``: the generator's own."""
        return {
            "wall_seconds": self._wall,
            "cpu_share": self._processor / self._wall,
            "cpu_ms_a_request": 1000 * self._processor / max(1, len(timings)),
            "late_p99": float(np.percentile(self._late, 99)) if self._late else 0.0,
        }


def bottlenecks(load: Load, top: Mapping[str, float] | None = None) -> list[str]:
    """Reasons to believe that figures are the generator's rather than the server's; none if it kept up."""
    found: list[str] = []
    own = load.generator
    if own["cpu_share"] > MOST_PROCESSOR_SHARE:
        found.append(f"the generator used {own['cpu_share']:.0%} of a processor; at most {MOST_PROCESSOR_SHARE:.0%}")
    if load.good:
        allowed = max(LATE_SECONDS, LATE_SHARE * load.median_ttft)
        if own["late_p99"] > allowed:
            late = f"its clock was up to {1000 * own['late_p99']:.1f} ms late (99 % of the time)"
            found.append(f"{late}; at most {1000 * allowed:.1f} ms, a tenth of the median TTFT")
    rate = load.rates().get("requests", 0.0)
    if top is not None and rate > (most := MOST_OF_TOP_RATE * top["requests"]):
        found.append(f"{rate:.0f} requests a second are more than half of what it can send ({2 * most:.0f})")
    return found


def top_rate(
    target: Target, prompts: Sequence[Prompt], *, concurrency: int = 16, seconds: float = 1.0
) -> dict[str, float]:
    """Rates (requests and output tokens a second, milliseconds of processor a request) against the null server, with
    these very prompts.
    """
    from harness.load.generator import run_load

    with null_server() as url:
        probe = run_load(url, target, [[p] for p in prompts[:concurrency]], concurrency=concurrency)
        rounds = max(1, int(seconds / max(probe.seconds, 0.001)))
        sessions = [[prompt] for _ in range(rounds) for prompt in prompts[:concurrency]]
        load = run_load(url, target, sessions, concurrency=concurrency)
    rates = load.rates()
    return {
        "requests": rates["requests"],
        "output_tokens": rates["output tokens"],
        "cpu_ms_a_request": load.generator["cpu_ms_a_request"],
    }


@contextmanager
def null_server(token_seconds: float = 0.0) -> Iterator[str]:
    """Its address, while it runs."""
    command = [sys.executable, "-m", "harness.load.null_server", "--token-seconds", str(token_seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip()
        finally:
            process.terminate()
