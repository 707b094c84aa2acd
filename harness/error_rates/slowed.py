"""``python -m harness.error_rates.slowed --slowed-by 0.1 ...``: the reference server, a tenth slower, to prove that a
verdict finds it.

After each step of the engine its thread spins until the whole process has used ``share / (1 - share)`` more processor
time than it would have: what took 90 takes 100.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from typing import Any, ClassVar

from harness.targets.reference import ReferenceTarget


class SlowedTarget(ReferenceTarget):
    """``Launch.options`` may say ``slowed_by``, a share of the speed from 0 up to 1."""

    name: ClassVar[str] = "slowed reference"
    command: ClassVar[tuple[str, ...]] = ("-m", "harness.error_rates.slowed")


def slowed(step: Callable[[Any], Any], share: float) -> Callable[[Any], Any]:
    """``step``, with spinning after it in proportion to all processor time since the last one's spinning."""
    factor, since = share / (1 - share), time.process_time()

    def slow_step(engine: Any) -> Any:
        nonlocal since
        outputs = step(engine)
        until = time.thread_time() + factor * (time.process_time() - since)
        while time.thread_time() < until:
            pass
        since = time.process_time()
        return outputs

    return slow_step


def main(argv: list[str]) -> int:
    from reference_engine.engine import Engine
    from reference_engine.server.cli import main as serve

    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--slowed-by", type=float, default=0.0)
    ours, others = parser.parse_known_args(argv)
    if ours.slowed_by:
        setattr(Engine, "step", slowed(Engine.step, ours.slowed_by))  # noqa: B010  # the fault
    return serve(others)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
