"""A whole benchmark: the chosen entries one after another, then the figures that are no contest, and what it ran on."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from harness.bench.contest import NO_GPU, QUICK_SHARE, Contest, EntryResult, Oracle, Wishes, has_gpu
from harness.bench.contestants.base import Setup
from harness.bench.entries import COLD, GPU_MODELS, RAGGED, SERVING, Entry
from harness.bench.models import HALF_BILLION, SENTINEL, checkpoint
from harness.bench.process import WorkerProcess
from harness.bench.workloads import Workload, arrivals
from harness.observation import Prompt
from harness.progress import Progress
from harness.surroundings import git_state, hardware, versions
from harness.vocabulary import Vocabulary

MIXED = Workload(200, (1, 24), images=(0, 2), load=2.0)
PROFILE_RATE = 200.0
DECODED = 256
"""Tokens that one request decodes alone."""


@dataclass(frozen=True)
class Outcome:
    results: list[EntryResult]
    environment: dict[str, Any]
    measures: dict[str, dict[str, Any]]


def run(entries: Sequence[Entry], wishes: Wishes, progress: Progress, keep: Callable[[Outcome], object]) -> Outcome:
    """``keep`` gets the outcome so far after every entry, so that a run that breaks off has not measured in vain."""
    environment = surroundings(wishes)
    oracle = Oracle(wishes)
    results: list[EntryResult] = []
    for entry in entries:
        results.append(Contest(entry, wishes, oracle, progress).hold())
        keep(Outcome(results, environment | {"ended": _now()}, {}))
    models = {entry.model for entry in entries}
    return Outcome(results, environment | {"ended": _now()}, measures(wishes, progress, models))


def surroundings(wishes: Wishes) -> dict[str, Any]:
    machine = hardware()
    return {
        "begun": _now(),
        "machine": {name: machine[name] for name in ("processor", "cores", "memory_gib", "system")},
        "load at the start": list(os.getloadavg()),
        "threads": wishes.threads,
        "quick": wishes.quick,
        "versions": versions(),
        "commit": git_state(),
    }


def measures(wishes: Wishes, progress: Progress, models: Collection[str]) -> dict[str, dict[str, Any]]:
    """What the reference engine's time and memory go into: on the sentinel, and in time on the larger model too, if an
    entry had it loaded."""
    progress.job("measures", "share of matrix products, memory under load")
    serving = prompts_of(SERVING, SENTINEL, wishes)
    found = {f"decode alone on a GPU, {name}, bfloat16": decode_bandwidth(name, wishes, serving) for name in GPU_MODELS}
    with our_engine(SENTINEL, wishes) as worker:
        found["matrix products in the serving entry"] = matrix_products(worker, serving, PROFILE_RATE)
        mixed = prompts_of(MIXED, SENTINEL, wishes)
        used = worker.measure("memory", mixed, arrivals(len(mixed), PROFILE_RATE))
        found[f"memory, {len(mixed)} mixed requests, MiB"] = used
    if HALF_BILLION in models:
        with our_engine(HALF_BILLION, wishes) as worker:
            ragged = prompts_of(RAGGED, HALF_BILLION, wishes)
            found["matrix products in the text-0.5b entry"] = matrix_products(worker, ragged, 0.0)
    return found


def matrix_products(worker: WorkerProcess, prompts: Sequence[Prompt], rate: float) -> dict[str, Any]:
    """Their share of what operators took, and of all processor time; the profiler's own time is in the latter."""
    worker.play(prompts, [0.0] * len(prompts))
    spent = worker.measure("operators", prompts, arrivals(len(prompts), rate))
    products = spent["matrix_products"]
    shares = {"operator time": products / spent["operators"], "processor time": products / spent["cpu_seconds"]}
    return {f"share of {whole}": share for whole, share in shares.items()} | spent


def prompts_of(workload: Workload, model: str, wishes: Wishes) -> list[Prompt]:
    return workload.prompts(Vocabulary(checkpoint(model, wishes.cache)), QUICK_SHARE if wishes.quick else 1.0)


@contextmanager
def our_engine(model: str, wishes: Wishes) -> Iterator[WorkerProcess]:
    """The reference engine with nothing that would remember an earlier round."""
    with WorkerProcess("ours", sys.executable, wishes.threads, wishes.logs / f"measures.{model}.log") as worker:
        worker.load("ours", Setup(str(checkpoint(model, wishes.cache)), threads=wishes.threads, options=COLD))
        yield worker


def decode_bandwidth(name: str, wishes: Wishes, prompts: Sequence[Prompt]) -> dict[str, Any]:
    """Weights read a second by one request decoding alone, as a share of what a plain copy moves on that card; 0.8 is
    wanted."""
    if not has_gpu():
        return {"not measured": NO_GPU}
    setup = Setup(str(checkpoint(name, wishes.cache)), "cuda", "bfloat16", wishes.threads, {**COLD, "cuda_graph": True})
    with WorkerProcess(name, sys.executable, wishes.threads, wishes.logs / f"decode.{name}.log") as worker:
        worker.load("ours", setup)
        return worker.measure("decode_bandwidth", prompts[0], DECODED)


def _now() -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
