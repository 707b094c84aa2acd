"""Servers to judge from outside: each in a process of its own, forked from this one, which has loaded everything that
takes long. What is served, and how a fault gets into it, is what ``assay serve --plant`` does.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from harness.differential.cases import make_cases
from harness.differential.models import Model
from harness.differential.wire import Wire
from harness.differential.wire_checks import WIRE_CHECKS, WireBench, WireCheck, WireOracle
from harness.errors import JobError
from harness.faults.findings import CLEAN, Finding
from harness.faults.forking import OutOfTime
from reference_engine import Engine, EngineConfig
from reference_engine.server.app import create_app
from reference_engine.server.limits import Limits
from reference_engine.server.listening import Listener, serve

SECONDS_TO_READY = 60.0


@contextmanager
def served(model: Model, plant: str | None) -> Iterator[Wire]:
    """A server, ready; ended whatever happens."""
    with Listener("127.0.0.1", 0) as listener:
        pid = os.fork()
        if not pid:
            _serve(listener, EngineConfig(model=model.name, num_blocks=512, plant=plant))
    wire = Wire(listener.url)
    try:
        _wait_ready(wire, pid)
        yield wire
    finally:
        wire.close()
        os.kill(pid, signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitpid(pid, 0)


def _serve(listener: Listener, config: EngineConfig) -> None:
    """Never returns: what comes after belongs to the process that this one was forked from."""
    code = 1
    try:
        signal.setitimer(signal.ITIMER_PROF, 0)
        app = create_app(Engine(config), Limits())
        code = serve(app, listener, drain_seconds=1, ready=lambda: "", abort=app.state.abort_all)
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

    def load(self, seed: int) -> None:
        for model in self.models:
            with served(model, None) as wire:
                self.oracles[model.name] = WireOracle.of(wire, make_cases(model, seed))

    def findings(self, fault: str, *, thorough: bool) -> Iterator[Finding]:
        """Checkpoint by checkpoint, until something is red."""
        began, red = time.monotonic(), False
        for model in self.models:
            with served(model, None if fault == CLEAN else fault) as wire:
                bench = WireBench(wire, self.oracles[model.name])
                for check in self.checks:
                    message = _first(check, bench)
                    red |= message is not None
                    yield Finding(
                        fault, self.name, check.name, model.name, check.invariants, message is not None,
                        (message or "")[:600], round(time.monotonic() - began, 3),
                    )  # fmt: skip
                    if red and not thorough:
                        return
            if red and fault != CLEAN:
                return


def _first(check: WireCheck, bench: WireBench) -> str | None:
    try:
        return next(iter(check.find(bench)), None)
    except OutOfTime:
        raise
    except Exception as error:
        return f"the server broke: {type(error).__name__}: {error}"
