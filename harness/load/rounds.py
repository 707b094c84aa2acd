"""One round of an A/B comparison: the same prompts, once each, in a closed loop on one server and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from typing import Any

from harness.errors import JobError
from harness.launch.server import Server
from harness.load.generator import run_load
from harness.load.process_meter import meter_of
from harness.load.timing import Load
from harness.observation import Prompt


@dataclass(frozen=True)
class Round:
    """``cpu_seconds`` and ``peak_memory`` (bytes) are the target's; None where it does not run on this machine."""

    setting: str
    load: Load
    cpu_seconds: float | None = None
    peak_memory: int | None = None

    def figures(self) -> dict[str, float]:
        """By the names of :data:`harness.checks.performance.METRICS`; what could not be measured is left out."""
        load = self.load
        cpu = self.cpu_seconds and 1000 * self.cpu_seconds / load.output_tokens
        found = {"throughput": load.throughput, "TTFT": load.median_ttft, "ITL": load.median_itl}
        found |= {"CPU time": cpu, "peak memory": self.peak_memory and self.peak_memory / 2**20}
        return {name: value for name, value in found.items() if value}

    def told(self) -> Mapping[str, Any]:
        """For a run record."""
        return {
            "setting": self.setting,
            "seconds": self.load.seconds,
            "figures": self.figures(),
            "generator": dict(self.load.generator),
            "timings": [asdict(timing) for timing in self.load.timings],
        }


def run_round(server: Server, prompts: Sequence[Prompt], *, concurrency: int) -> Round:
    """A request that fails ends the job: figures without it would compare other work."""
    meter = meter_of(server.running)
    with nullcontext() if meter is None else meter.running():
        load = run_load(
            server.url,
            server.target,
            [[prompt] for prompt in prompts],
            concurrency=concurrency,
            timeout=server.request_timeout,
            headers=server.headers,
        )
    if load.errors:
        raise _problem(server, load)
    measured = (None, None) if meter is None else (meter.cpu_seconds, meter.peak_memory)
    return Round(server.setting, load, *measured)


def _problem(server: Server, load: Load) -> JobError:
    failed = load.errors[0]
    if server.running.ended() is not None or not (failed.error or "").startswith("Refused"):
        return server.death(f"streaming request {failed.request} ({failed.error})")
    return JobError(f"{server.setting} refused {failed.request}: {(failed.error or '').removeprefix('Refused: ')}")
