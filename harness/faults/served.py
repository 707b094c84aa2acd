"""Servers to judge from outside: each in a process of its own, forked from this one, which has loaded everything that
takes long. What is served, and how a fault gets into it, is what ``assay serve --plant`` does.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import psutil

from harness.differential.bench import POOL, oracle_of
from harness.differential.canary import HOST, Canary
from harness.differential.models import Model
from harness.differential.wire import Wire
from harness.differential.wire_bench import WireBench, WireCheck, WireOracle
from harness.differential.wire_checks import WIRE_CHECKS
from harness.errors import JobError
from harness.faults.acting import CHUNKS, checkpoints_of, settings_of
from harness.faults.findings import CLEAN, Finding, first_found
from reference_engine import Engine, EngineConfig
from reference_engine.server.app import create_app
from reference_engine.server.limits import Limits
from reference_engine.server.listening import Listener, serve

SECONDS_TO_READY = 60.0


ROOMY: tuple[Mapping[str, Any], ...] = (
    CHUNKS, {"encoder_cache": False, "prefix_cache": False, "cuda_graph": True},
)  # fmt: skip
"""Settings that the first checkpoint is served with once more; and with :func:`cramped` ones."""


def cramped(oracle: WireOracle) -> Mapping[str, Any]:
    """Chunks smaller than a block, a pool that the longest prompt nearly fills, and too little room for the pictures of
    one prompt."""
    longest, rows = oracle.largest
    return {"chunked_prefill": 7, "block_size": 8, "num_blocks": -(-(longest + 40) // 8), "encoder_rows": rows - 1}


@contextmanager
def served(
    model: Model, plant: str | None, limits: Limits | None = None, settings: Mapping[str, Any] | None = None
) -> Iterator[Wire]:
    """A server, ready; ended whatever happens."""
    with Listener("127.0.0.1", 0) as listener:
        pid = os.fork()
        if not pid:
            config = EngineConfig(model=model.name, plant=plant, **{"num_blocks": POOL} | dict(settings or {}))
            _serve(listener, config, limits or Limits())
    wire = Wire(listener.url, pid)
    try:
        _wait_ready(wire, pid)
        yield wire
    finally:
        wire.close()
        os.kill(pid, signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitpid(pid, 0)


def _serve(listener: Listener, config: EngineConfig, limits: Limits) -> None:
    """Never returns: what comes after belongs to the process that this one was forked from."""
    code = 1
    try:
        signal.setitimer(signal.ITIMER_PROF, 0)
        app = create_app(Engine(config), limits)
        code = serve(app, listener, limits, drain_seconds=1, ready=lambda: "", abort=app.state.abort_all)
    finally:
        sys.stderr.flush()
        os._exit(code)


def _wait_ready(wire: Wire, pid: int) -> None:
    end = time.monotonic() + SECONDS_TO_READY
    while not wire.healthy():
        if time.monotonic() > end or os.waitpid(pid, os.WNOHANG)[0]:
            raise JobError("the server did not become ready")
        time.sleep(0.02)


@dataclass
class Served:
    models: Sequence[Model]
    name: str = "e2e"
    checks: Sequence[WireCheck] = WIRE_CHECKS
    oracles: dict[str, WireOracle] = field(default_factory=dict)
    seed: int = 0

    def load(self, seed: int) -> None:
        self.seed = seed
        for model in self.models:
            with served(model, None) as wire:
                self.oracles[model.name] = WireOracle.of(wire, oracle_of(model, seed))

    def findings(self, fault: str, *, quick: bool) -> Iterator[Finding]:
        """Server by server, until something is red."""
        earlier, plant = 0.0, None if fault == CLEAN else fault
        with closing(Canary()) as canary:
            limits = Limits(media_hosts=canary.door, media_networks=f"{HOST}/32")
            for model, settings in self._stands(fault, quick=quick):
                red = False
                with served(model, plant, limits, settings) as wire:
                    bench = WireBench(wire, self.oracles[model.name], canary, settings)
                    where = " ".join([model.name, *(f"{name}={value}" for name, value in settings.items())])
                    for check in self.checks:
                        message = first_found(check.find, bench, "server")
                        red |= message is not None
                        yield Finding(
                            fault, self.name, check.name, where, check.invariants, message is not None,
                            (message or "")[:600], round(earlier + time.process_time() + _processor_time(wire.pid), 3),
                        )  # fmt: skip
                    earlier += _processor_time(wire.pid)
                if red and fault != CLEAN:
                    return

    def _stands(self, fault: str, *, quick: bool) -> Iterator[tuple[Model, Mapping[str, Any]]]:
        """Checkpoints and settings: first as they are, or as a fault says that it acts; then under others. A quick look
        at what has no fault takes one setting for each checkpoint, another one with the next seed.
        """
        if quick and fault == CLEAN:
            for model in self.models:
                settings = self._settings(model)
                yield model, settings[self.seed % len(settings)]
            return
        models = checkpoints_of(fault, self.models) if quick else self.models
        own = dict(settings_of(fault)) if quick else {}
        yield from ((model, own) for model in models)
        others = (settings | own for settings in self._settings(models[0]))
        yield from ((models[0], settings) for settings in others if settings != own)

    def _settings(self, model: Model) -> list[dict[str, Any]]:
        return [{}, *map(dict, ROOMY), *([dict(cramped(self.oracles[model.name]))] if model.image else [])]


def _processor_time(pid: int | None) -> float:
    """Seconds that a process has used, 0 for one that is gone."""
    with suppress(psutil.Error):
        used = psutil.Process(pid).cpu_times()
        return float(used.user + used.system)
    return 0.0
