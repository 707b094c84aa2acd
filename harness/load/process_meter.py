"""Processor time and peak memory of a local target: its process and all that it started, for the length of a round.

Processor time hardly feels who else uses the machine, so it tells where wall time cannot. Memory is resident, summed
over the processes (what they share counts in each), read every ``SAMPLE_SECONDS``.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psutil

from harness.launch.running import Running

SAMPLE_SECONDS = 0.05


def meter_of(running: Running) -> ProcessMeter | None:
    """None for what does not run on this machine."""
    return None if running.family is None else ProcessMeter(running.family)


class ProcessMeter:
    """Use :meth:`running` around what is to be measured; the figures stand when it is left."""

    def __init__(self, pid: int) -> None:
        self._root = psutil.Process(pid)
        self.cpu_seconds = 0.0
        self.peak_memory = 0
        """Bytes."""

    @contextmanager
    def running(self) -> Iterator[ProcessMeter]:
        ended = threading.Event()
        sampler = threading.Thread(target=self._sample, args=(ended,), daemon=True)
        before = self._cpu_seconds()
        sampler.start()
        try:
            yield self
        finally:
            ended.set()
            sampler.join()
            self.cpu_seconds = self._cpu_seconds() - before

    def _sample(self, ended: threading.Event) -> None:
        while not ended.wait(SAMPLE_SECONDS):
            self.peak_memory = max(self.peak_memory, self.resident())
        self.peak_memory = max(self.peak_memory, self.resident())

    def _processes(self) -> list[psutil.Process]:
        with suppress(psutil.NoSuchProcess):
            return [self._root, *self._root.children(recursive=True)]
        return []

    def _cpu_seconds(self) -> float:
        """Of those that live, and of the children that ended and were waited for."""
        total = 0.0
        for process in self._processes():
            with suppress(psutil.NoSuchProcess, OSError):
                times = process.cpu_times()
                own = cpu_clock(process.pid) if sys.platform == "linux" else times.user + times.system
                total += own + times.children_user + times.children_system
        return total

    def resident(self) -> int:
        """Bytes, now."""
        total = 0
        for process in self._processes():
            with suppress(psutil.NoSuchProcess):
                total += process.memory_info().rss
        return total


def cpu_clock(pid: int) -> float:
    """Seconds that all threads of a process have run, to the nanosecond, where ``/proc`` counts in hundredths: the
    clock that ``clock_getcpuclockid(3)`` names. Linux alone.
    """
    return time.clock_gettime((~pid << 3) | 2)
