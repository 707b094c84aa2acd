"""Pairs of rounds from real servers, as JSON lines: A against A, and A against a slowed A."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from harness.checks.performance import CPU_TIME, Compared, Metric
from harness.error_rates.slowed import SlowedTarget
from harness.jobs import JobContext
from harness.jobs.performance import CACHES, Effort, Performance
from harness.json_lines import read_lines
from harness.load.comparison import Pairs, compare
from harness.load.rounds import run_round
from harness.progress import Progress
from harness.records import Recorder
from harness.session import DEFAULT_MODEL, find_checkpoint
from harness.stats import Plan

LOSS = 0.05
EFFORT = Effort(samples=12, new_tokens=12, concurrency=4)
NAMES = ("A", "B")


@dataclass(frozen=True)
class Pair:
    """``launch`` numbers the starts of both servers; ``elapsed`` is of the seconds since the first pair of it."""

    launch: int
    elapsed: float
    baseline: dict[str, float]
    candidate: dict[str, float]


def record(
    file: Path, launches: int, progress: Progress, *, plan: Plan, slowed_by: float = 0.0, budget: float | None = None
) -> None:
    """Append to ``file`` one line a pair. Each launch goes on until ``plan`` has decided on processor time, until its
    last look, or until ``budget`` seconds are over.
    """
    metrics = (CPU_TIME,)
    with tempfile.TemporaryDirectory() as directory, Recorder(Path(directory)) as recorder:
        for number in range(launches):
            progress.step(f"{file.stem}: launch {number + 1} of {launches}", plan.looks[-1])
            _record_launch(file, number, _context(recorder, progress), (plan, metrics, slowed_by, budget))


def _context(recorder: Recorder, progress: Progress) -> JobContext:
    checkpoint = find_checkpoint(DEFAULT_MODEL)
    return JobContext(SlowedTarget(), str(checkpoint), checkpoint, recorder, progress)


def _record_launch(
    file: Path, number: int, context: JobContext, how: tuple[Plan, Sequence[Metric], float, float | None]
) -> None:
    plan, metrics, slowed_by, budget = how
    job = Performance()
    job.effort = EFFORT
    prompts = job.prompts(context)
    plain = context.launch(dict.fromkeys(CACHES, "off"))
    launches = {NAMES[0]: plain, NAMES[1]: replace(plain, options={"slowed_by": str(slowed_by)})}
    with context.servers("error-rates", launches) as servers, file.open("a", encoding="utf-8") as lines:

        def play(side: int) -> dict[str, float]:
            return run_round(servers[NAMES[side]], prompts, concurrency=EFFORT.concurrency).figures()

        def on_pair(pairs: Pairs) -> None:
            found = Pair(number, pairs.elapsed[-1], dict(pairs.first[-1]), dict(pairs.second[-1]))
            lines.write(json.dumps(asdict(found)) + "\n")
            lines.flush()
            context.progress.advance()

        for side in (0, 1):
            play(side)  # warm
        compared = Compared(f"launch {number}", NAMES, "sglang#26555", LOSS, plan)
        compare(play, compared, seed=time.time_ns(), metrics=metrics, budget=budget, on_pair=on_pair)


def read_pairs(file: Path) -> dict[int, Pairs]:
    """By launch, in the order in which they were played."""
    found: dict[int, Pairs] = {}
    for line in read_lines(file):
        pair = Pair(**json.loads(line))
        pairs = found.setdefault(pair.launch, Pairs())
        pairs.first.append(pair.baseline)
        pairs.second.append(pair.candidate)
        pairs.elapsed.append(pair.elapsed)
    return found
