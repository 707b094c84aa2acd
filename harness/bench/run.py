"""A whole benchmark: the chosen entries one after another, then the figures that are no contest, and what it ran on."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from harness.bench.contest import NO_GPU, Contest, EntryResult, Oracle, Wishes, has_gpu
from harness.bench.contestants.base import Setup
from harness.bench.entries import COLD, GPU_MODELS, SERVING, Entry
from harness.bench.models import SENTINEL, checkpoint
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
    return Outcome(results, environment | {"ended": _now()}, measures(wishes, progress))


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


def measures(wishes: Wishes, progress: Progress) -> dict[str, dict[str, Any]]:
    """What the reference engine's time and memory go into, on the sentinel."""
    progress.job("measures", "share of matrix products, memory under load")
    model = checkpoint(SENTINEL, wishes.cache)
    vocabulary = Vocabulary(model)
    serving, mixed = (w.prompts(vocabulary, 0.25 if wishes.quick else 1.0) for w in (SERVING, MIXED))
    log = wishes.logs / "measures.log"
    with WorkerProcess("ours", sys.executable, wishes.threads, log) as worker:
        worker.load("ours", Setup(str(model), threads=wishes.threads, options=COLD))
        worker.play(serving, [0.0] * len(serving))
        spent = worker.measure("operators", serving, arrivals(len(serving), PROFILE_RATE))
        share = spent["matrix_products"] / spent["operators"]
        used = worker.measure("memory", mixed, arrivals(len(mixed), PROFILE_RATE))
    gpu = {f"decode alone on a GPU, {name}, bfloat16": decode_bandwidth(name, wishes, serving) for name in GPU_MODELS}
    return gpu | {
        "matrix products in the serving entry": {"share of operator time": share, **spent},
        f"memory, {len(mixed)} mixed requests, MiB": used,
    }


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
