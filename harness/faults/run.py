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
from pathlib import Path

import torch

from harness.errors import UsageError
from harness.faults.findings import CLEAN, Done, Finding, Journal
from harness.faults.forking import Ended, run_forked
from harness.faults.matrix import Matrix, markdown, page
from harness.faults.suites import Suite, make_suites
from harness.verdict import FAILED, PASSED
from reference_engine.faults import FAULTS, read_reports

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
    journal = Journal(wishes.out / "findings.jsonl")
    try:
        suites = make_suites(wishes.models)
    except KeyError as error:
        raise UsageError(f"unknown checkpoint {error}") from error
    for seed, jobs in _jobs(wishes, journal):
        say(f"{len(jobs)} jobs, seed {seed}: loading")
        chosen = {name: suites[name] for name in dict.fromkeys(job.suite for job in jobs)}
        for suite in chosen.values():
            suite.load(seed)
        _run_all(jobs, chosen, journal, wishes, say)
    return conclude(wishes, journal, say)


def _jobs(wishes: Wishes, journal: Journal) -> Iterator[tuple[int, list[Job]]]:
    """By seed, those that are not done yet."""
    done = {(one.fault, one.suite, one.seed) for one in journal.read()[1]}
    faults = [CLEAN] if wishes.clean else choose(wishes)
    for seed in range(wishes.seed, wishes.seed + max(1, wishes.clean)):
        jobs = [Job(fault, suite, seed) for fault in faults for suite in wishes.suites]
        left = [job for job in jobs if (job.fault, job.suite, job.seed) not in done]
        if left:
            yield seed, left


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
        known = merged.get(name, name)
        if known not in FAULTS:
            raise UsageError(f"unknown fault {name!r}; assay faults list names them all")
        chosen.append(known)
    return list(dict.fromkeys(chosen))[:: wishes.every]


def _run_all(jobs: list[Job], suites: dict[str, Suite], journal: Journal, wishes: Wishes, say: Say) -> None:
    work = partial(_findings, suites=suites, thorough=not wishes.quick)
    for number, ended in enumerate(run_forked(jobs, work, wishes.workers), 1):
        job = ended.job
        findings = ended.items + _trouble(ended)
        journal.add([*findings, Done(job.fault, job.suite, round(ended.seconds, 2), job.seed)])
        red = [one for one in findings if one.red]
        first = f": {red[0].check}, {red[0].message[:90]}" if red else ""
        say(f"{number:>4}/{len(jobs)} {job.fault:<24} {job.suite:<12} {len(red):>3} red {ended.seconds:6.1f} s{first}")


def _findings(job: Job, suites: dict[str, Suite], thorough: bool) -> Iterator[Finding]:
    return suites[job.suite].findings(job.fault, thorough=thorough)


def _trouble(ended: Ended[Job, Finding]) -> list[Finding]:
    """A suite that did not come to its end was stopped by what was planted: every run must end."""
    if ended.trouble is None:
        return []
    job = ended.job
    return [
        Finding(job.fault, job.suite, "comes to an end", "", (14, 17), True, ended.trouble, round(ended.seconds, 3))
    ]


def conclude(wishes: Wishes, journal: Journal, say: Say) -> int:
    """Write the matrix; the exit code."""
    findings, _ = journal.read()
    matrix = Matrix.of(findings, FAULTS, read_reports())
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
