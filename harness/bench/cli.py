"""``assay bench``: reads arguments, holds the contests, writes the results. Exit codes: 0 done, 2 could not be done.

A missed goal is a result, not a failure: this measures, checks judge.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from rich.console import Console

from harness.errors import UsageError
from harness.verdict import NOT_DONE, PASSED

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "assay-bench"


def main(argv: Sequence[str]) -> int:
    options = build_parser().parse_args(argv)
    from harness.bench.entries import choose

    if options.list:
        sys.stdout.writelines(f"{entry.name:<24} {entry.title}\n" for entry in choose([]))
        return PASSED
    return _run(options)


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="assay bench",
        description="Measure the reference engine against other ways to serve the same checkpoint, and its toggles.",
    )
    parser.add_argument("entries", nargs="*", metavar="ENTRY", help="names of entries (default: all; see --list)")
    parser.add_argument("--list", action="store_true", help="list the entries and end")
    parser.add_argument("--quick", action="store_true", help="few requests, two rounds: shows that all of it works")
    parser.add_argument("--rounds", type=int, metavar="N", help="rounds of every entry, in place of its own number")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="of every contestant (default: 1)")
    parser.add_argument(
        "--python", action="append", default=[], metavar="KIND=PATH",
        help="interpreter of a contestant's own environment, such as vllm=/path/bin/python; repeatable",
    )  # fmt: skip
    parser.add_argument("--cache", type=Path, default=CACHE, help="where checkpoints are kept (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("assay-runs/bench"), help="folder of the results")
    return parser


def _run(options: argparse.Namespace) -> int:
    from harness.bench.contest import Wishes
    from harness.bench.entries import choose
    from harness.bench.report import write
    from harness.bench.run import run
    from harness.progress import LiveBars, PlainLines

    chosen = choose(options.entries)
    wishes = Wishes(
        options.cache, options.out / "logs", pythons(options.python), options.threads, options.quick, options.rounds
    )
    console = Console(stderr=True)
    showing = LiveBars(console) if console.is_terminal else PlainLines(console)
    began = time.monotonic()
    with showing if isinstance(showing, LiveBars) else nullcontext():
        outcome = run(chosen, wishes, showing, lambda so_far: write(so_far, options.out))
    text = write(outcome, options.out)
    sys.stdout.write(f"{text}\nin {time.monotonic() - began:.0f} s\n")
    sys.stdout.writelines(f"{file}\n" for file in sorted(options.out.glob("bench.*")))
    return PASSED if any(one.rounds for result in outcome.results for one in result.seats) else NOT_DONE


def pythons(assignments: Sequence[str]) -> dict[str, str]:
    """``KIND=PATH`` strings as a mapping. Raises :class:`UsageError` for an unknown kind or a missing file."""
    from harness.bench.contestants import KINDS

    found = {}
    for assignment in assignments:
        kind, _, path = assignment.partition("=")
        if kind not in KINDS or not Path(path).is_file():
            raise UsageError(f"--python {assignment!r}: write KIND=PATH of an interpreter; kinds: {', '.join(KINDS)}")
        found[kind] = path
    return found
