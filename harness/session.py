"""One ``assay run``: checks the wishes, runs the jobs one after the other, keeps the record, makes the page.

What cannot be done at all (unknown target, job, toggle, model) raises :class:`UsageError` before anything is started or
written. An engine that dies or hangs in the middle of a job has failed that job, and the next one is run. What else
goes wrong later, an engine that never becomes ready too, ends the run with exit code 2. Either way its record is
finished with what had been measured.
"""

from __future__ import annotations

import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

from harness.checks.robustness import died
from harness.errors import JobError, RecordError, TargetDied, UsageError
from harness.jobs import Job, JobContext, find_jobs
from harness.launch.place import Place
from harness.launch.process import ProcessLauncher
from harness.launch.running import Launcher
from harness.launch.server import REQUEST_SECONDS
from harness.launch.sweep import sweep
from harness.progress import Progress, Silent
from harness.records import Recorder, load_record, public_arguments
from harness.report.page import write_page
from harness.surroundings import git_state, hardware, versions
from harness.targets import find_target
from harness.targets.divergences import SHIPPED, read_divergences
from harness.targets.installed import installed_version
from harness.toggles import parse_overrides
from harness.verdict import Filed, exit_code
from harness.workloads.chat import markup_of
from harness.workloads.drift import sentinel_questions
from reference_engine.errors import ConfigError
from reference_engine.sentinels import PACKAGED, resolve_model

DEFAULT_MODEL = "sentinel-qwen2.5-vl"
DEFAULT_DIRECTORY = Path("assay-runs")
ACCURACY_FLOORS = dict.fromkeys(PACKAGED, 0.9)
"""What each packaged model must answer right; far above what any planted fault leaves."""


@dataclass
class Wishes:
    """What the caller of ``assay run`` asked for."""

    jobs: Sequence[str] = ()
    target: str = "reference"
    model: str = DEFAULT_MODEL
    samples: int | None = None
    seed: int = 0
    directory: Path = DEFAULT_DIRECTORY
    plant: str | None = None
    toggles: Sequence[str] = ()
    accuracy_floor: float | None = None
    startup_timeout: float | None = None
    """Seconds; None: the target's own."""
    request_timeout: float = REQUEST_SECONDS
    python: str = sys.executable
    engine_args: Sequence[str] = ()
    known: Path | None = None
    """A file of known divergences beside those that are shipped."""
    place: Place = field(default_factory=Place)
    declared: Sequence[type[Job]] = ()
    """Jobs of a job file."""


@dataclass
class Outcome:
    """How a run ended, and where its record and page are."""

    code: int
    record: Path
    page: Path
    seconds: float
    problem: str | None = None
    filed: list[Filed] = field(default_factory=list)


def run(wishes: Wishes, progress: Progress | None = None) -> Outcome:
    """Raises :class:`UsageError` before anything starts; :class:`KeyboardInterrupt` leaves the partial record."""
    jobs, overrides = (
        find_jobs(wishes.jobs, plant=wishes.plant, declared=wishes.declared),
        parse_overrides(wishes.toggles),
    )
    for job in jobs:
        if clash := sorted(set(job.compares) & set(overrides)):
            raise UsageError(f"--toggle {clash[0]}: job {job.name} compares its settings itself; name other jobs")
    if wishes.samples is not None and wishes.samples < 1:
        raise UsageError(f"--samples {wishes.samples}: at least 1 is needed")
    for name in ("startup_timeout", "request_timeout"):
        if (seconds := getattr(wishes, name)) is not None and not seconds > 0:
            raise UsageError(f"--{name.replace('_', '-')} {getattr(wishes, name):g}: more than 0 seconds are needed")
    launcher = wishes.place.launcher()
    target, checkpoint = find_target(wishes.target), find_checkpoint(wishes.model)
    markup = markup_of(checkpoint)
    target.spell(overrides)
    if wishes.plant and not target.plantable:
        raise UsageError(f"--plant {wishes.plant}: faults cannot be planted in target {target.name}")
    divergences = [one for path in (SHIPPED, wishes.known) if path for one in read_divergences(Path(path))]
    on_this_machine = isinstance(launcher, ProcessLauncher)
    if on_this_machine and (installed := installed_version(wishes.python, target.distributions)):
        target.version = installed
    started = time.monotonic()
    progress = progress or Silent()
    with signals_as_interrupts(), prepared(launcher, progress) as place, Recorder(wishes.directory) as recorder:
        context = JobContext(
            target=target,
            model=str(checkpoint),
            checkpoint=checkpoint,
            recorder=recorder,
            progress=progress,
            seed=wishes.seed,
            samples=wishes.samples,
            toggles=overrides,
            plant=wishes.plant,
            accuracy_floor=ACCURACY_FLOORS.get(wishes.model)
            if wishes.accuracy_floor is None
            else wishes.accuracy_floor,
            startup_timeout=wishes.startup_timeout,
            request_timeout=wishes.request_timeout,
            launcher=launcher,
            python=wishes.python,
            engine_args=wishes.engine_args,
            divergences=divergences,
            questions=partial(sentinel_questions, markup=markup),
            markup=markup,
        )
        record_start(context, wishes, jobs, place)
        problem = run_jobs(context, jobs)
        code = exit_code(context.filed, incomplete=problem is not None)
        record = recorder.finish(code)
    page = record.with_suffix(".html")
    try:
        write_page(load_record(record), page)
    except OSError as error:
        again = f"the record is whole: `assay report {record}` makes the page again"
        raise RecordError(f"page: cannot write {page}: {error.strerror}; {again}") from error
    return Outcome(code, record, page, time.monotonic() - started, problem, context.filed)


def find_checkpoint(model: str) -> Path:
    try:
        checkpoint = resolve_model(model)
    except ConfigError as error:
        raise UsageError(str(error)) from error
    if not (checkpoint / "config.json").is_file():
        raise UsageError(f"model: {model} has no checkpoint in {checkpoint}; known: {', '.join(sorted(PACKAGED))}")
    return checkpoint.resolve()


@contextmanager
def prepared(launcher: Launcher, progress: Progress) -> Iterator[dict[str, Any]]:
    """What killed runs left is gone, and the launcher has what it needs; what the record keeps of it."""
    for line in sweep():
        progress.step(f"removed what an earlier run left: {line}")
    yield launcher.prepare()


def record_start(context: JobContext, wishes: Wishes, jobs: Sequence[Job], place: dict[str, Any]) -> None:
    context.recorder.event(
        "run",
        command=public_arguments(sys.argv),
        target=context.target.name,
        target_version=context.target.version,
        engine_args=public_arguments(wishes.engine_args),
        model=wishes.model,
        checkpoint=context.model,
        seed=wishes.seed,
        samples=wishes.samples,
        toggles=dict(context.toggles),
        plant=wishes.plant,
        place=place,
        jobs=[job.name for job in jobs],
        versions=versions(),
        hardware=hardware(),
        git=git_state(),
        tokens={"placeholder": context.placeholders.id, "joiner": list(context.placeholders.joiner)},
    )


def run_jobs(context: JobContext, jobs: Sequence[Job]) -> str | None:
    """Every job in turn, each with servers of its own; the first that cannot be done ends the run, and its problem is
    returned.
    """
    for job in jobs:
        context.progress.job(job.name, job.title)
        context.recorder.event("job", job=job.name, title=job.title, about=job.about, sources=list(job.sources))
        started = time.monotonic()
        try:
            job.run(context)
        except RecordError:
            raise
        except TargetDied as death:
            context.file(job.name, died(death))
        except JobError as error:
            context.recorder.event("problem", job=job.name, message=str(error))
            return f"{job.name}: {error}"
        except Exception as error:  # of Assay or of a target's adapter: no check failed, so it must not end with 1
            what = f"unexpected {type(error).__name__}: {error}"
            context.recorder.event("problem", job=job.name, message=what, traceback=traceback.format_exc())
            return f"{job.name}: {what}\n{traceback.format_exc(limit=-3)}"
        except KeyboardInterrupt:
            context.recorder.event("interrupted", job=job.name)
            raise
        context.recorder.event("job_end", job=job.name, seconds=round(time.monotonic() - started, 2))
    return None


@contextmanager
def signals_as_interrupts() -> Iterator[None]:
    """SIGTERM and SIGHUP end a run the way Ctrl-C does: servers ended, partial record kept. Under ``nohup`` SIGHUP is
    ignored as before.
    """

    def interrupt(number: int, frame: FrameType | None) -> None:
        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # behind a script's `&`: deaf to Ctrl-C, not to this
            raise KeyboardInterrupt
        signal.raise_signal(signal.SIGINT)  # whoever handles Ctrl-C now, asyncio too, does the same

    before: list[tuple[signal.Signals, Callable[[int, FrameType | None], object] | int | None]] = []
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            before.append((number, signal.signal(number, interrupt)))
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)
