"""A rank other than 0: a process that loads its share of the decoder and runs the steps it is told.

It ends when rank 0 closes the pipe or dies, and says why when it ends for a reason of its own.
"""

from __future__ import annotations

import traceback
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from reference_engine.attention import Backend
from reference_engine.config import EngineConfig
from reference_engine.kv_cache import KVCache
from reference_engine.parallel.collectives import Collectives
from reference_engine.parallel.messages import OpenCache, RunStep, ZeroBlocks

READY = "ready"


def run_worker(pipe: Connection, config: EngineConfig, rank: int, meeting_place: Path, threads: int) -> None:
    """The whole life of a worker. Sends READY, or the text of what went wrong."""
    torch.set_num_threads(threads)
    try:
        _work(pipe, config, rank, meeting_place)
    except EOFError:
        return
    except Exception:
        pipe.send(traceback.format_exc())
        raise


@torch.inference_mode()
def _work(pipe: Connection, config: EngineConfig, rank: int, meeting_place: Path) -> None:
    from reference_engine.loading import choose_backend, load_share

    device = rank_device(config, rank)
    collectives = Collectives(meeting_place, rank, config.tensor_parallel, device)
    worker = Worker(load_share(config, collectives, device), choose_backend(config), collectives, device)
    pipe.send(READY)
    while True:
        worker.do(pipe.recv())


def rank_device(config: EngineConfig, rank: int) -> torch.device:
    """Cards follow one another from the configured one on."""
    first = torch.device(config.device)
    return first if first.type == "cpu" else torch.device(first.type, (first.index or 0) + rank)


class Worker:
    def __init__(self, decoder: Any, backend: Backend, collectives: Collectives, device: torch.device) -> None:
        self.decoder = decoder
        self.backend = backend
        self.collectives = collectives
        self.device = device
        self.caches: dict[int, KVCache] = {}

    def do(self, message: object) -> None:
        match message:
            case OpenCache(cache, arguments):
                self.caches[cache] = KVCache(**{**arguments, "device": str(self.device)})
            case ZeroBlocks(cache, blocks):
                self.caches[cache].zero(blocks)
            case RunStep():
                self._run(message)
            case _:
                raise TypeError(f"rank 0 sent a {type(message).__name__}")

    def _run(self, step: RunStep) -> None:
        cache = self.caches[step.cache]
        cache.copy_rows([w.lane for w in step.windows], step.table_BK)
        x_TE, positions, *deepstack = (self._receive(i, shape) for i, shape in enumerate(step.shapes))
        paged = self.backend(cache, step.windows)
        self.decoder.forward(x_TE, positions, paged, *([tuple(deepstack)] if deepstack else []))

    def _receive(self, place: int, shape: tuple[int, ...]) -> Tensor:
        """Inputs and deepstack rows are of the model's type, positions whole numbers, the deepstack mask bits."""
        dtype = (self.decoder.dtype, torch.int64, torch.bool, self.decoder.dtype)[place]
        return self.collectives.from_driver(torch.empty(shape, dtype=dtype, device=self.device))
