"""Rank 0's side: starts the workers, tells them every step before it runs its own share, and ends them.

A step that fails in any rank leaves the others in the middle of a sum, so it ends the group: that step and all later
ones raise :class:`WorkerLost`, which says which rank went and why. Workers never outlive the driver: they end when the
pipe closes, whatever closed it.
"""

from __future__ import annotations

import multiprocessing
import tempfile
import weakref
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from reference_engine.attention import Backend, PagedStep, Window
from reference_engine.config import EngineConfig
from reference_engine.errors import ConfigError
from reference_engine.kv_cache import KVCache
from reference_engine.parallel.collectives import Collectives
from reference_engine.parallel.messages import Message, OpenCache, RunStep, ZeroBlocks
from reference_engine.parallel.worker import READY, rank_device, run_worker

GRACE = 10.0
"""Seconds a worker has to end by itself."""


class WorkerLost(RuntimeError):
    """A rank is gone; the engine must be started anew."""


class Workers:
    """The other ranks, as processes."""

    def __init__(self, config: EngineConfig) -> None:
        folder = tempfile.TemporaryDirectory(prefix="assay-ranks-")
        self.meeting_place = Path(folder.name) / "meeting"
        self._processes: list[BaseProcess] = []
        self._pipes: list[Connection] = []
        context = multiprocessing.get_context("spawn")
        for rank in range(1, config.tensor_parallel):
            ours, theirs = context.Pipe()
            process = context.Process(
                target=run_worker, args=(theirs, config, rank, self.meeting_place, torch.get_num_threads()),
                name=f"assay-rank-{rank}", daemon=True,
            )  # fmt: skip
            process.start()
            theirs.close()
            self._processes.append(process)
            self._pipes.append(ours)
        self.close = weakref.finalize(self, _end, self._processes, self._pipes, folder)

    def wait_until_ready(self) -> None:
        """Raises :class:`ConfigError` with a worker's own words if it could not load."""
        for rank, pipe in enumerate(self._pipes, start=1):
            try:
                said = pipe.recv()
            except EOFError:
                said = "it ended without a word"
            if said != READY:
                raise ConfigError(f"tensor_parallel: rank {rank} could not start: {said}")

    def tell(self, message: Message) -> None:
        for pipe in self._pipes:
            pipe.send(message)

    def is_one_gone(self) -> bool:
        return not all(process.is_alive() for process in self._processes)

    def lost(self, error: Exception) -> WorkerLost:
        """What to raise after ``error``; ends all workers."""
        reports = [self._report(rank) for rank in range(1, len(self._processes) + 1)]
        for process in self._processes:
            process.kill()  # it may be waiting for a sum that never comes
        self.close()
        gone = "; ".join(filter(None, reports)) or f"rank 0 failed: {error}"
        return WorkerLost(f"tensor_parallel: {gone}; start the engine anew")

    def _report(self, rank: int) -> str | None:
        """Why a rank has gone; None if it has not."""
        process, pipe = self._processes[rank - 1], self._pipes[rank - 1]
        process.join(0.5)
        if process.is_alive():
            return None
        try:
            return f"rank {rank} failed: {pipe.recv().strip().splitlines()[-1]}"
        except (EOFError, OSError):
            return f"rank {rank} ended with exit code {process.exitcode}"


def _end(processes: Sequence[BaseProcess], pipes: Sequence[Connection], folder: Any) -> None:
    for pipe in pipes:
        pipe.close()
    for process in processes:
        process.join(GRACE)
        if process.is_alive():
            process.kill()
            process.join()
    folder.cleanup()


class ShardedCache(KVCache):
    """Rank 0's share of the cache, mirrored by the workers': they follow its table, and zero what it zeroes."""

    made = 0

    def __init__(self, workers: Workers, ranks: int, *, heads: int, **arguments: Any) -> None:
        arguments["heads"] = heads // ranks
        super().__init__(**arguments)
        ShardedCache.made += 1
        self.number = ShardedCache.made
        self.workers = workers
        workers.tell(OpenCache(self.number, arguments))

    def zero(self, blocks: Sequence[int]) -> None:
        super().zero(blocks)
        with suppress(OSError):  # a rank that is gone has nothing to zero; the next step says so
            self.workers.tell(ZeroBlocks(self.number, blocks))


class ShardedStep:
    """A step of rank 0's backend, and what the others need to make the same."""

    def __init__(self, cache: ShardedCache, windows: Sequence[Window], step: PagedStep) -> None:
        self.cache, self.windows = cache, windows
        self.attend = step.attend


class ShardedDecoder:
    """The :class:`reference_engine.model_runner.Decoder` whose layers are spread over the ranks, with the caches and
    steps that go with it.
    """

    def __init__(self, config: EngineConfig, model: Any) -> None:
        """Cuts ``model`` to rank 0's share and moves it to its device. Raises :class:`ConfigError` for a model that
        cannot be cut, and for what a worker says when it cannot start.
        """
        self.model = model
        self.ranks = config.tensor_parallel
        self.embed, self.logits = model.embed, model.logits
        self.workers = Workers(config)
        device = rank_device(config, 0)
        try:
            self.collectives = Collectives(self.workers.meeting_place, 0, self.ranks, device)
            model.keep_share(self.collectives, device)
            self.workers.wait_until_ready()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self.workers.close()

    def new_cache(self, **arguments: Any) -> KVCache:
        return ShardedCache(self.workers, self.ranks, **arguments)

    def backend(self, backend: Backend) -> Backend:
        def make(cache: KVCache, windows: Sequence[Window]) -> PagedStep:
            assert isinstance(cache, ShardedCache)
            return ShardedStep(cache, windows, backend(cache, windows))

        return make

    def forward(
        self, x_TE: Tensor, positions_3T: Tensor, step: PagedStep, *deepstack: tuple[Tensor, Tensor] | None
    ) -> Tensor:
        """Raises :class:`WorkerLost` when a rank fails, and from then on."""
        if not self.workers.close.alive:
            raise WorkerLost("tensor_parallel: a rank was lost earlier; start the engine anew")
        assert isinstance(step, ShardedStep)
        tensors = [x_TE, positions_3T.to(x_TE.device), *(t for given in deepstack if given for t in given)]
        try:
            self._tell(step, tensors)
            hidden_TE = self.model.forward(x_TE, tensors[1], step, *deepstack)
            self.collectives.finish(self.workers.is_one_gone)
            return hidden_TE
        except Exception as error:
            raise self.workers.lost(error) from error

    def _tell(self, step: ShardedStep, tensors: list[Tensor]) -> None:
        lanes = [w.lane for w in step.windows]
        table_BK = step.cache.block_table(lanes, max(w.stop for w in step.windows))
        self.workers.tell(RunStep(step.cache.number, step.windows, table_BK, [tuple(t.shape) for t in tensors]))
        for tensor in tensors:
            self.collectives.from_driver(tensor.contiguous())
