"""The command line of a load: ``assay load --arrival poisson --rate 4 --duration 30 --workload multi-image``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.jobs.load import Asked


def add(parser: argparse.ArgumentParser) -> None:
    """Defaults are those of :class:`~harness.jobs.load.Asked`, so that ``--help`` need not load what a run needs."""
    what = parser.add_argument_group("what is sent")
    what.add_argument(
        "--workload",
        metavar="KIND",
        help="text, image, multi-image, mixed (default), video, shared-prefix or multi-turn",
    )
    what.add_argument("--words", type=int, metavar="N", help="words of text a prompt (default: 16)")
    what.add_argument("--images", type=int, metavar="N", help="pictures a prompt, most of a mixed one (default: 3)")
    what.add_argument("--output-tokens", type=int, metavar="N", help="tokens an answer, exactly (default: 16)")
    what.add_argument("--turns", type=int, metavar="N", help="of a dialogue (default: 3)")
    what.add_argument("--distinct", type=int, metavar="N", help="different sessions; then they repeat (default: 32)")
    when = parser.add_argument_group("when it is sent")
    when.add_argument("--arrival", metavar="KIND", help="closed (default), constant, poisson, bursty, ramp, or trace")
    when.add_argument("--rate", type=float, metavar="R", help="sessions a second (default: 4)")
    when.add_argument("--end-rate", type=float, metavar="R", help="where a ramp ends")
    when.add_argument(
        "--burstiness", type=float, metavar="S", help="gamma shape of bursty gaps (default: 0.25; 1: Poisson)"
    )
    when.add_argument("--duration", type=float, metavar="S", help="seconds, warm-up included (default: 20)")
    when.add_argument(
        "--warmup", type=float, metavar="S", help="seconds at the start that are in no figure (default: 2)"
    )
    when.add_argument(
        "--concurrency", type=int, metavar="N", help="callers of a closed loop (default: 4), or most sessions in flight"
    )
    when.add_argument("--trace", type=Path, metavar="FILE", help="JSON lines: at, prompt_tokens, output_tokens, images")
    good = parser.add_argument_group("what is good enough")
    good.add_argument("--slo", metavar="LIMITS", help="such as ttft=500ms,itl=50ms; also tpot and e2e")
    good.add_argument("--goodput", type=float, metavar="SHARE", help="of requests that must meet it (default: 0.95)")


def asked(arguments: argparse.Namespace) -> Asked:
    from harness.jobs.load import Asked, parse_objective
    from harness.load.arrivals import Rate
    from harness.workloads.load import Shape

    def given(*names: str) -> dict[str, object]:
        return {name: value for name in names if (value := getattr(arguments, name)) is not None}

    rate = {"rate": 4.0, "duration": 20.0} | given("rate", "duration", "end_rate")
    if arguments.burstiness is not None:
        rate["shape"] = arguments.burstiness
    parts = given("workload", "distinct", "arrival", "concurrency", "warmup", "trace")
    if arguments.slo is not None:
        parts["objective"] = parse_objective(arguments.slo)
    if arguments.goodput is not None:
        parts["share"] = arguments.goodput
    shape = Shape(**given("words", "images", "output_tokens", "turns"))  # type: ignore[arg-type]
    return Asked(shape=shape, rate=Rate(**rate), **parts)  # type: ignore[arg-type]
