"""``assay faults``: the catalogue, and what the suites see of it.

Exit codes of ``run``: 0 every fault was seen and nothing else, 1 a fault survived or a check was red with nothing
planted, 2 could not be done.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from harness.errors import UsageError
from harness.verdict import PASSED

SUITES = ("differential", "benchmark", "properties", "e2e")
"""In the order in which they run: what sees most at once comes first."""


def main(argv: Sequence[str]) -> int:
    options = build_parser().parse_args(argv)
    return int(options.command(options))


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="assay faults", description="Reported regressions, planted on purpose.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    listing = commands.add_parser("list", help="every report, and what became of it")
    listing.set_defaults(command=_list)
    show = commands.add_parser("show", help="all that is known of one")
    show.add_argument("fault", metavar="ID")
    show.set_defaults(command=_show)
    _add_run(commands.add_parser("run", help="plant, judge, and write the kill matrix"))
    return parser


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("faults", nargs="*", metavar="ID", help="one planted at a time; yours as module:name")
    parser.add_argument("--family", action="append", default=[], metavar="F", help="all of a family, as F1; repeatable")
    parser.add_argument("--all", action="store_true", help="all of the catalogue")
    parser.add_argument(
        "--clean",
        type=int,
        default=0,
        metavar="N",
        help="plant nothing, N times, with N seeds: every red is a false alarm",
    )
    parser.add_argument(
        "--suite", action="append", dest="suites", choices=SUITES, help="what judges; repeatable (default: all)"
    )
    parser.add_argument(
        "--model", action="append", default=[], metavar="NAME", help="checkpoints (default: one a family)"
    )
    parser.add_argument("--every", type=int, default=1, metavar="N", help="of the faults chosen, each Nth: a sample")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="a fault where it says it acts, until it is seen inside and outside; nothing: of each seed one checkpoint,"
        " and every third check",
    )
    parser.add_argument("--seed", type=int, default=0, help="of every workload (default: 0)")
    parser.add_argument(
        "--workers",
        "--jobs",
        type=int,
        default=min(4, os.cpu_count() or 1),
        metavar="N",
        help="processes (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--out", type=Path, default=Path("assay-runs/faults"), help="results; an unfinished run goes on"
    )
    parser.set_defaults(command=_run)


def _list(options: argparse.Namespace) -> int:
    from reference_engine.faults import FAULTS, read_reports

    reports = read_reports()
    for name in [*reports.ids, *(name for name in FAULTS if name not in reports.ids)]:
        if name in FAULTS:
            said = FAULTS[name].summary + (" (analogue)" if FAULTS[name].analogue else "")
        elif name in reports.merged:
            said = f"merged with {reports.merged[name]}"
        else:
            said = f"not planted: {reports.unplanted[name]}"
        sys.stdout.write(f"{name:<26} {said}\n")
    planted = sum(name in FAULTS for name in reports.ids)
    sys.stdout.write(
        f"\n{len(reports.ids)} reports: {planted} planted, {len(reports.merged)} merged with one of these, "
        f"{len(reports.unplanted)} not possible here; {len(FAULTS) - planted} faults beside them\n"
    )
    return PASSED


def _show(options: argparse.Namespace) -> int:
    from reference_engine.errors import ConfigError
    from reference_engine.faults import find_fault, read_reports

    reports = read_reports()
    name = reports.merged.get(options.fault, options.fault)
    if name in reports.unplanted:
        sys.stdout.write(f"{name} is not planted: {reports.unplanted[name]}\n")
        return PASSED
    try:
        fault = find_fault(name)
    except ConfigError as error:
        raise UsageError(f"{error}; assay faults list names them all") from error
    told = {
        "fault": f"{fault.id}" + (f" (for {options.fault}, of the same mechanism)" if name != options.fault else ""),
        "reported": fault.reference,
        "what it does": fault.summary + (" (an analogue)" if fault.analogue else ""),
        "acts when": fault.acts_when,
        "settings": ", ".join(fault.toggles) or "any",
        "families": fault.families,
        "hardware": fault.hardware,
        "breaks": fault.invariant,
        "over HTTP": fault.hidden or ("may be seen" if fault.shows_outside else "not asked: it breaks books or costs"),
        "replaces": ", ".join(f"{seam} -> {_name(wrong)}" for seam, wrong in fault.replaces.items()),
        "plant it": f"assay serve --plant {fault.id} --allow-plant, or assay faults run {fault.id}",
    }
    sys.stdout.writelines(f"{label:<13} {value}\n" for label, value in told.items())
    return PASSED


def _name(wrong: object) -> str:
    return getattr(wrong, "__qualname__", type(wrong).__qualname__)


def _run(options: argparse.Namespace) -> int:
    from harness.faults.run import Wishes, run

    chosen = options.faults or options.family or options.all
    if bool(chosen) == bool(options.clean):
        raise UsageError("faults run: name faults, --family F or --all; or --clean N")
    wishes = Wishes(
        tuple(options.faults), tuple(options.family), options.all, options.clean, tuple(options.suites or SUITES),
        tuple(options.model), options.quick, options.seed, options.workers, options.out, options.every,
    )  # fmt: skip
    return run(wishes, lambda line: sys.stderr.write(line + "\n"))
