"""Memory over a long run: 2,000 mixed requests, some of them aborted or preempted on the way, leave nothing behind.

They run in a process of their own, with oneDNN's cache of compiled primitives held to one: it keeps one for every shape
it met, up to 1,024, and would grow all through the run.
"""

from __future__ import annotations

import ctypes
import gc
import os
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch

from reference_engine import Engine, EngineConfig, SamplingParams
from reference_engine.sentinels import resolve_model
from tests.reference_engine.conftest import random_case

REQUESTS, WARM_UP = 2000, 400
ALLOWED_GROWTH = 24 * 2**20
"""Bytes: allocators and interned strings move a little; a leak of one small image a request would be 100 MB."""
GAUGES = ("running", "waiting", "blocks_free", "encoder_rows_pinned")


def resident() -> int:
    """Bytes of this process in memory (with glibc), without what the allocator keeps of what was freed."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return psutil.Process().memory_info().rss


class Load:
    """Arrivals, aborts and preemptions drawn from a seed; never more than a dozen requests at once."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.rng = np.random.default_rng(0)
        self.live: set[str] = set()
        self.seen: list[weakref.ref[Any]] = []
        self.sent = self.ended = 0
        self.most_bytes = 0

    def run(self, count: int) -> None:
        wanted = self.sent + count
        while self.sent < wanted or self.engine.has_work():
            while self.sent < wanted and len(self.live) < 12 and self.rng.random() < 0.6:
                self.submit()
            if self.live and self.rng.random() < 0.1:
                name = sorted(self.live)[int(self.rng.integers(len(self.live)))]
                (self.engine.abort if self.rng.random() < 0.6 else self.engine.preempt)(name)
            for output in self.engine.step():
                if output.answer is not None:
                    assert output.answer.error is None, output.answer.error
                    self.live.remove(output.request_id)
                    self.ended += 1
            self.most_bytes = max(self.most_bytes, self.engine.scheduler.rows.bytes)

    def submit(self) -> None:
        case = random_case(np.random.default_rng(int(self.rng.integers(500))), max_images=2)
        name = str(self.sent)
        sampling = SamplingParams(max_new_tokens=int(self.rng.integers(1, 12)), ignore_eos=True)
        self.engine.submit(case.request(name, sampling=sampling, want_evidence=bool(self.rng.random() < 0.2)))
        self.live.add(name)
        self.sent += 1
        self.seen.append(weakref.ref(self.engine.scheduler.waiting[-1]))


def soak() -> None:
    """Raise ``AssertionError`` if anything is left, counted or held."""
    torch.set_num_threads(1)
    engine = Engine(
        EngineConfig(
            model=str(resolve_model("sentinel-qwen2.5-vl")), num_blocks=160, block_size=8, chunked_prefill=64,
            encoder_rows=1024, max_batch_size=6,
        )
    )  # fmt: skip
    row_bytes = 4 * engine.runner.decoder.embed(torch.tensor([0])).shape[1]
    load = Load(engine)
    baseline = {name: engine.counters()[name] for name in GAUGES}
    load.run(WARM_UP)
    before = resident()
    load.run(REQUESTS - WARM_UP)
    grown = resident() - before
    sys.stdout.write(f"{REQUESTS - WARM_UP} requests: {grown / 2**20:.1f} MiB more\n")
    assert load.sent == load.ended == REQUESTS
    assert {name: engine.counters()[name] for name in GAUGES} == baseline
    assert grown < ALLOWED_GROWTH, f"{grown} bytes more"
    assert not [ref for ref in load.seen if ref() is not None], "requests that ended are still held"
    assert load.most_bytes <= 1024 * row_bytes
    assert engine.counters()["preemptions_total"] > 20
    engine.flush_cache()
    assert engine.counters()["encoder_rows_bytes"] == engine.counters()["blocks_cached"] == 0


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(sys.platform != "linux", reason="what was freed is given back by glibc's malloc_trim")
def test_two_thousand_requests_leave_memory_as_it_was() -> None:
    environment = os.environ | {"ONEDNN_PRIMITIVE_CACHE_CAPACITY": "1", "OMP_NUM_THREADS": "1"}
    ran = subprocess.run(
        [sys.executable, "-m", __name__], env=environment, capture_output=True, text=True, cwd=Path(__file__).parents[2]
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


if __name__ == "__main__":
    soak()
