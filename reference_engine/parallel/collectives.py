"""What ranks exchange in a step: sums and broadcasts, over gloo on CPUs and over NCCL (RCCL on AMD cards) otherwise.

A process group of its own, met through a file: no ports, and several engines in one process do not meet.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

TIMEOUT = timedelta(minutes=5)
"""A collective that takes longer has lost a rank."""
POLL = 5e-5
"""Seconds between two looks at whether a step is done."""


class Collectives:
    """One rank's end. Blocks until all ranks have come."""

    def __init__(self, meeting_place: Path, rank: int, ranks: int, device: torch.device) -> None:
        self.rank, self.ranks, self.device = rank, ranks, device
        store = dist.FileStore(str(meeting_place), ranks)  # type: ignore[attr-defined]  # exported, but not by name
        self._group: Any
        if device.type == "cpu":
            self._group = dist.ProcessGroupGloo(store, rank, ranks, TIMEOUT)
        else:
            torch.cuda.set_device(device)
            options = dist.ProcessGroupNCCL.Options()
            options._timeout = TIMEOUT
            self._group = dist.ProcessGroupNCCL(store, rank, ranks, options)

    def sum(self, x: Tensor) -> Tensor:
        """The sum over ranks, in place."""
        self._group.allreduce([x]).wait()
        return x

    def from_driver(self, x: Tensor) -> Tensor:
        """Rank 0's tensor, in place of whatever the others hold."""
        self._group.broadcast(x, 0).wait()
        return x

    def finish(self, is_lost: Callable[[], bool]) -> None:
        """Wait until what was queued is done. On a card a sum is queued, not waited for, so that a rank is gone shows
        only here: raises RuntimeError once ``is_lost``, having given up what waits for it.
        """
        if self.device.type == "cpu":
            return
        done = torch.cuda.current_stream().record_event()
        while not done.query():
            if is_lost():
                self._group.abort()
                raise RuntimeError("a rank is gone in the middle of a step")
            time.sleep(POLL)

    def close(self) -> None:
        self._group.shutdown()
