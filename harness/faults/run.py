"""One ``assay faults run``: which jobs there are, each in a process of its own, its findings kept as it ends, and the
matrix written from all that were ever kept in the folder.
"""

from __future__ import annotations

import logging
import platform
import shlex
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import torch

from harness.differential.models import MODELS, find_models
from harness.errors import UsageError
from harness.faults.acting import checkpoints_of
from harness.faults.clean import run_clean
from harness.faults.findings import CLEAN, Done, Finding, Journal, stopped
from harness.faults.forking import Ended, run_forked
from harness.faults.matrix import OUTSIDE, Matrix, is_own, markdown, page
from harness.faults.suites import Suite, make_suites
from harness.surroundings import digest_of
from harness.verdict import FAILED, PASSED
from reference_engine.errors import ConfigError
from reference_engine.faults import FAULTS, find_fault, read_reports

Say = Callable[[str], object]


@dataclass(frozen=True)
class Wishes:
    faults: tuple[str, ...] = ()
    families: tuple[str, ...] = ()
    all: bool = False
    clean: int = 0
    suites: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    quick: bool = False
    seed: int = 0
    workers: int = 2
    out: Path = Path("assay-runs/faults")
    every: int = 1


@dataclass(frozen=True)
class Job:
    fault: str
    suite: str
    seed: int


def run(wishes: Wishes, say: Say) -> int:
    """Raises :class:`UsageError` for a fault, family or checkpoint that is not known."""
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    choose(wishes)
    journal = Journal(wishes.out / f"findings-{state_of(wishes)}.jsonl")
    if others := [path for path in wishes.out.glob("findings*.jsonl") if path != journal.path]:
        say(f"{len(others)} earlier run(s) in {wishes.out} are left aside: of other code or options than these")
    try:
        find_models(wishes.models)
    except KeyError as error:
        raise UsageError(f"unknown checkpoint {error}") from error
    if wishes.clean:
        seeds = range(wishes.seed, wishes.seed + wishes.clean)
        run_clean(seeds, wishes.suites, wishes.models, wishes.workers, journal, say, quick=wishes.quick)
    else:
        jobs, asked = _jobs(wishes, journal)
        suites = make_suites(wishes.models or _checkpoints(wishes))
        say(f"{len(jobs)} jobs, seed {wishes.seed}; {asked - len(jobs)} were done before")
        _run_all(jobs, {name: suites[name] for name in wishes.suites}, journal, wishes, say)
    return conclude(wishes, journal, say)


def state_of(wishes: Wishes) -> str:
    """Of all that findings depend on, so that nothing is taken for done after a change of code or options."""
    own = {fault.partition(":")[0] for fault in wishes.faults if ":" in fault}
    packages = ("harness", "reference_engine", "property_tests")
    sources = [Path(str(spec.origin)) for spec in map(find_spec, [*packages, *sorted(own)]) if spec is not None]
    folders = [path.parent if path.name == "__init__.py" else path for path in sources]
    options = "-".join([*wishes.models, *(["quick"] if wishes.quick else [])])
    return "-".join(filter(None, [digest_of(folders), options]))


def _checkpoints(wishes: Wishes) -> tuple[str, ...]:
    """With ``quick``, those that some fault is asked on; else empty, which stands for all."""
    if not wishes.quick:
        return ()
    needed = {model.name for fault in choose(wishes) for model in checkpoints_of(fault, MODELS)}
    return tuple(model.name for model in MODELS if model.name in {*needed, MODELS[0].name})


def _jobs(wishes: Wishes, journal: Journal) -> tuple[list[Job], int]:
    """Those that are not done yet, and how many there are in all."""
    done = {(one.fault, one.suite, one.seed) for one in journal.read()[1]}
    jobs = [Job(fault, suite, wishes.seed) for fault in choose(wishes) for suite in wishes.suites]
    return [job for job in jobs if (job.fault, job.suite, job.seed) not in done], len(jobs)


def choose(wishes: Wishes) -> list[str]:
    """Ids of the faults that were asked for; a report that was merged stands for its sibling."""
    merged = read_reports().merged
    chosen = list(FAULTS) if wishes.all else []
    for family in wishes.families:
        own = [name for name in FAULTS if name.startswith(f"{family}-")]
        if not own:
            raise UsageError(f"unknown family {family!r}; there are F1 to F10")
        chosen += own
    for name in wishes.faults:
        try:
            chosen.append(find_fault(merged.get(name, name)).id)
        except ConfigError as error:
            raise UsageError(f"{error}; assay faults list names them all") from error
    return list(dict.fromkeys(chosen))[:: wishes.every]


def _run_all(jobs: list[Job], suites: dict[str, Suite], journal: Journal, wishes: Wishes, say: Say) -> None:
    """All of one suite after all of another, the likeliest first. With ``quick``, what was seen from inside already is
    asked of no other suite but those that judge from outside, and these of nothing that no answer shows."""
    found = journal.read()[0]
    number, seen = 0, {one.fault for one in found if one.red and one.suite != OUTSIDE and is_own(one)}
    work = partial(_findings, suites=suites, quick=wishes.quick)
    for suite in suites:
        left = [job for job in jobs if job.suite == suite and not _is_settled(job, seen, wishes)]
        number += sum(job.suite == suite for job in jobs) - len(left)
        if left:
            suites[suite].load(left[0].seed)
        for ended in run_forked(left, work, wishes.workers):
            number += 1
            job, findings = ended.job, ended.items + _trouble(ended)
            journal.add([*findings, Done(job.fault, job.suite, round(ended.seconds, 2), job.seed)])
            red = [one for one in findings if one.red]
            seen |= {job.fault} if suite != OUTSIDE and any(is_own(one) for one in red) else set()
            first = f": {red[0].check}, {red[0].message[:90]}" if red else ""
            say(f"{number:>4}/{len(jobs)} {job.fault:<24} {suite:<12} {len(red):>3} red {ended.seconds:6.1f} s{first}")


def _is_settled(job: Job, seen: set[str], wishes: Wishes) -> bool:
    if not wishes.quick:
        return False
    return not find_fault(job.fault).shows_outside if job.suite == OUTSIDE else job.fault in seen


def _findings(job: Job, suites: dict[str, Suite], quick: bool) -> Iterator[Finding]:
    """With ``quick``, up to the first check of the fault's own invariant that is red; from outside, of any."""
    for finding in suites[job.suite].findings(job.fault, quick=quick):
        yield finding
        if quick and finding.red and (is_own(finding) or job.suite == OUTSIDE):
            return


def _trouble(ended: Ended[Job, Finding]) -> list[Finding]:
    """Stopped by what was planted."""
    if ended.trouble is None:
        return []
    return [stopped(ended.job.fault, ended.job.suite, "", ended.trouble, ended.seconds)]


def conclude(wishes: Wishes, journal: Journal, say: Say) -> int:
    """Write the matrix; the exit code."""
    findings, done = journal.read()
    others = {one.fault for one in findings} - {*FAULTS, CLEAN}
    matrix = Matrix.of(findings, done, FAULTS | {name: find_fault(name) for name in sorted(others)}, read_reports())
    command = shlex.join(["assay", *sys.argv[1:]]) if Path(sys.argv[0]).name == "assay" else "assay faults run"
    machine = f"{platform.machine()}, {torch.get_num_threads()} thread a process, torch {torch.__version__}"
    (wishes.out / "faults.md").write_text(markdown(matrix, command, machine), encoding="utf-8")
    (wishes.out / "faults.html").write_text(page(matrix, command, machine), encoding="utf-8")
    for name, value in matrix.summary().items():
        say(f"{name}: {value}")
    for row in matrix.survivors:
        say(f"survived: {row.fault.id} ({row.fault.reference}): {row.fault.summary}")
    say(f"matrix  {wishes.out / 'faults.md'}, {wishes.out / 'faults.html'}")
    alarmed = any(one.red for one in matrix.clean)
    return FAILED if matrix.survivors or alarmed else PASSED
