"""The real server as a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
import psutil


@dataclass
class Running:
    url: str
    process: subprocess.Popen[bytes]
    log: Path
    seconds: float

    @property
    def resident(self) -> int:
        """Bytes of memory that it holds."""
        return psutil.Process(self.process.pid).memory_info().rss

    def client(self) -> httpx2.Client:
        return httpx2.Client(base_url=self.url, timeout=60, trust_env=False)


@contextmanager
def launched(model: Path, log: Path, *options: str, port: int = 0) -> Iterator[Running]:
    command = [sys.executable, "-m", "reference_engine", "--model", str(model), "--port", str(port), *options]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("ASSAY_")} | {"OMP_NUM_THREADS": "1"}
    began = time.monotonic()
    with log.open("wb") as stream:
        process = subprocess.Popen(
            command, stderr=stream, cwd=Path(__file__).parents[2], env=environment, start_new_session=True
        )
    try:
        while "assay-engine ready on " not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < began + 90, "not ready in time"
            time.sleep(0.05)
        url = log.read_text().partition("assay-engine ready on ")[2].split()[0]
        yield Running(url, process, log, time.monotonic() - began)
    finally:
        process.kill()
        process.wait(10)
