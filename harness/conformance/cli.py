"""``assay conformance``: puts the properties to implementations and writes one table.

Exit codes: 0 nothing failed that was not expected to, 1 something did, 2 could not be done.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from importlib.metadata import version as installed_version
from pathlib import Path

from rich.console import Console

from harness.conformance.environments import python_of
from harness.conformance.suite import Judgement, Seat, judge
from harness.conformance.table import write
from harness.errors import UsageError
from harness.implementations import REMOTE, implementation_names
from harness.progress import LiveBars, PlainLines
from harness.verdict import FAILED, PASSED

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "assay-environments"
PROFILES = ("dev", "ci", "nightly")


def main(argv: Sequence[str]) -> int:
    options = build_parser().parse_args(argv)
    wanted, pythons = wishes(options.implementations, options.python)
    console = Console(stderr=True)
    showing = LiveBars(console) if console.is_terminal else PlainLines(console)
    judgements: list[Judgement] = []
    with showing if isinstance(showing, LiveBars) else nullcontext():
        for name, version in wanted:
            showing.job(name, version or "as installed")
            seat = seat_of(name, version, pythons, options.environments, showing.step)
            showing.step("properties")
            judgements.append(judge(seat, options.profile, showing.advance))
    sys.stdout.write(write(judgements, options.out))
    sys.stdout.writelines(f"{file}\n" for file in sorted(options.out.glob("conformance.*")))
    surprises = sum(j.count("fail") + j.count("unexpected_pass") for j in judgements)
    return FAILED if surprises else PASSED


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="assay conformance", description="Put the properties to one or more implementations; one table of all."
    )
    parser.add_argument(
        "--implementation", action="append", default=[], dest="implementations", metavar="NAME[==VERSION]",
        help="reference, transformers, sglang==0.5.23, vllm==0.32.0; repeatable (default: reference, transformers)",
    )  # fmt: skip
    parser.add_argument(
        "--python", action="append", default=[], metavar="NAME=PATH",
        help="an environment of your own for an engine, in place of one made here; repeatable",
    )  # fmt: skip
    parser.add_argument(
        "--environments", type=Path, default=CACHE, help="where environments are kept (default: %(default)s)"
    )
    parser.add_argument("--profile", choices=PROFILES, default="ci", help="how hard to look (default: ci)")
    parser.add_argument("--out", type=Path, default=Path("assay-runs/conformance"), help="folder of the results")
    return parser


def wishes(
    implementations: Sequence[str], pythons: Sequence[str]
) -> tuple[list[tuple[str, str | None]], dict[str, Path]]:
    """Names with versions, and environments by name. Raises :class:`UsageError` for what cannot be meant."""
    asked = [wish.partition("==") for wish in implementations or ["reference", "transformers"]]
    wanted = [(name, version or None) for name, _, version in asked]
    for name, version in wanted:
        if name not in implementation_names():
            known = ", ".join(implementation_names())
            raise UsageError(f"--implementation {name!r} is unknown; known: {known}")
        if version and name not in REMOTE and version != _own(name):
            raise UsageError(f"--implementation {name}=={version}: {_own(name)} is installed, and runs in this process")
    given = {}
    for assignment in pythons:
        name, _, path = assignment.partition("=")
        if name not in REMOTE or not Path(path).is_file():
            raise UsageError(f"--python {assignment!r}: write NAME=PATH of an interpreter; names: {', '.join(REMOTE)}")
        given[name] = Path(path)
    return wanted, given


def _own(name: str) -> str:
    return installed_version({"reference": "vlm-assay"}.get(name, name))


def seat_of(
    name: str, version: str | None, pythons: dict[str, Path], environments: Path, say: Callable[[str], None]
) -> Seat:
    """Where the implementation runs: here, in an environment that was named, or in one made for it."""
    if name not in REMOTE:
        return Seat(name)
    if name in pythons:
        return Seat(name, pythons[name])
    if version is None:
        raise UsageError(f"--implementation {name}: say which release ({name}==VERSION), or name its --python")
    return Seat(name, python_of(name, version, environments, say))
