"""One load on one server: arrivals as planned, figures of every request, its page. What ``assay load`` runs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import cycle, islice
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from harness.checks.load import all_answered, generator_kept_up, objective_met, usage_as_predicted
from harness.errors import JobError, UsageError
from harness.jobs.base import Job, JobContext
from harness.load.arrivals import ARRIVALS, Rate, read_trace
from harness.load.counting import Counts, count_tokens
from harness.load.generator import run_load
from harness.load.overhead import bottlenecks, top_rate
from harness.load.timing import Load, Objective
from harness.targets.base import Target
from harness.workloads.load import OF_IDS, Sessions, Shape, make_sessions, replay_trace

LIMIT = re.compile(r"(?P<name>ttft|itl|tpot|e2e)=(?P<value>\d+(?:\.\d+)?)(?P<unit>ms|s)")


@dataclass(frozen=True)
class Asked:
    """What the load is to be. ``arrival`` is ``closed``, a kind of :data:`~harness.load.arrivals.ARRIVALS`, or
    ``trace``.
    """

    workload: str = "mixed"
    shape: Shape = field(default_factory=Shape)
    distinct: int = 32
    """Sessions that are made; a longer load sends them again."""
    arrival: str = "closed"
    rate: Rate = field(default_factory=lambda: Rate(4.0, 20.0))
    concurrency: int | None = None
    warmup: float = 2.0
    trace: Path | None = None
    objective: Objective | None = None
    share: float = 0.95
    """Of the requests that must meet the objective."""

    def __post_init__(self) -> None:
        known = ("closed", *ARRIVALS, "trace")
        if self.arrival not in known:
            raise UsageError(f"--arrival {self.arrival}: known are {', '.join(known)}")
        if (self.arrival == "trace") != (self.trace is not None):
            raise UsageError("--arrival trace and --trace FILE go together")
        if self.arrival == "ramp" and self.rate.end_rate is None:
            raise UsageError("--arrival ramp needs --end-rate")
        if not 0 < self.share <= 1:
            raise UsageError(f"--goodput {self.share:g}: a share above 0 and up to 1 is needed")
        for name, value in (("distinct", self.distinct), ("concurrency", self.concurrency)):
            if value is not None and value < 1:
                raise UsageError(f"--{name} {value}: at least 1 is needed")


def parse_objective(text: str) -> Objective:
    """``ttft=500ms,itl=50ms``; in seconds too."""
    limits = {}
    for part in text.split(","):
        found = LIMIT.fullmatch(part.strip())
        if found is None:
            raise UsageError(
                f"--slo {part.strip()!r}: write ttft=500ms, itl=50ms, tpot=..., e2e=2s, with commas between"
            )
        limits[found["name"]] = float(found["value"]) / (1000 if found["unit"] == "ms" else 1)
    return Objective(**limits)


class LoadJob(Job):
    name: ClassVar[str] = "load"
    title: ClassVar[str] = "arrivals as planned, latencies from the intended time, tokens by our own count"
    about: ClassVar[str] = (
        "Requests are sent when they were meant to be sent, however slow the server is, and latencies count from then. "
        "Prompt tokens, those of images included, are counted by our own prediction. What failed is in every share."
    )
    sources: ClassVar[tuple[str, ...]] = ("sglang#38035", "sglang#40356")
    compares: ClassVar[tuple[str, ...]] = ()
    asked: ClassVar[Asked] = Asked()

    def run(self, context: JobContext) -> None:
        self.check_sendable(context.target)
        sessions, times = self.plan(context)
        prompts = [prompt for session in sessions for prompt in session]
        context.record_prompts(self.name, prompts)
        context.progress.step("counting tokens, and the generator's own top rate")
        counts = count_tokens(context.checkpoint, prompts, context.target)
        top = top_rate(context.target, prompts)
        load, death = self._load(context, sessions, times)
        load = counts.put_in(load)
        limits = bottlenecks(load, top)
        self._record(context, load, counts, top)
        context.file(self.name, all_answered(load))
        context.file(self.name, generator_kept_up(load, limits))
        context.file(self.name, usage_as_predicted(load, counts.reason))
        if self.asked.objective is not None:
            context.file(self.name, objective_met(load, self.asked.objective, self.asked.share, limits))
        if death is not None:
            raise death

    def check_sendable(self, target: Target) -> None:
        """Raises :class:`UsageError` for a load that is made of ids, where the target sends single questions, and for
        videos, where it sends none.
        """
        if self.asked.workload == "video" and not target.takes_clips:
            raise UsageError(f"--workload video: target {target.name} sends no videos")
        if why := target.lacks.get("input_ids"):
            what = "--arrival trace" if self.asked.trace is not None else f"--workload {self.asked.workload}"
            if self.asked.trace is not None or self.asked.workload in OF_IDS:
                raise UsageError(f"{what}: target {target.name} takes no token ids ({why}), and these are made of them")

    def plan(self, context: JobContext) -> tuple[Sessions, list[float] | None]:
        """Distinct sessions, and when each session (they take turns) is meant to start; None in a closed loop."""
        asked = self.asked
        if asked.trace is not None:
            trace = read_trace(asked.trace)
            return replay_trace(trace, context.seed, context.vocabulary, context.markup), [one.at for one in trace]
        made = make_sessions(
            asked.workload, asked.distinct, context.seed, context.vocabulary, asked.shape, context.markup
        )
        if asked.arrival == "closed":
            return made, None
        times = ARRIVALS[asked.arrival](asked.rate, np.random.default_rng(context.seed))
        if not times:
            raise UsageError(f"--rate {asked.rate.rate:g} for {asked.rate.duration:g} s: no request falls in it")
        return made, times

    def _load(
        self, context: JobContext, sessions: Sessions, times: Sequence[float] | None
    ) -> tuple[Load, JobError | None]:
        """What was measured, and what to raise once that is recorded, if the server ended meanwhile."""
        asked = self.asked
        sent = sessions if times is None else list(islice(cycle(sessions), len(times)))
        with context.servers(self.name, {"load": context.launch({})}) as servers:
            server = servers["load"]
            context.progress.step(
                f"{asked.arrival} load of {asked.workload if asked.trace is None else asked.trace.name}",
                None if times is None else sum(map(len, sent)),
            )
            load = run_load(
                server.url,
                server.target,
                sent,
                times=times,
                concurrency=asked.concurrency or (4 if times is None else None),
                duration=asked.rate.duration if times is None else None,
                warmup=asked.warmup,
                timeout=server.request_timeout,
                headers=server.headers,
                on_timing=lambda timing: context.progress.advance(),
            )
            return load, None if server.running.ended() is None else server.death("under load")

    def _record(self, context: JobContext, load: Load, counts: Counts, top: dict[str, float]) -> None:
        start = load.timings[0].intended if load.timings else 0.0
        moments = ("intended", "sent", "first", "ended")
        timings = []
        for timing in load.timings:
            told: dict[str, Any] = {
                n: v if n not in moments or v is None else v - start for n, v in vars(timing).items()
            }
            told["gaps"] = [round(gap, 5) for gap in timing.gaps]
            timings.append(told)
        goodput = None if self.asked.objective is None else load.goodput(self.asked.objective)
        context.recorder.event(
            "load",
            job=self.name,
            asked=asdict(self.asked),
            seconds=load.seconds,
            sent=len(load.counted),
            failed=len(load.errors),
            warm=len(load.timings) - len(load.counted),
            rates=load.rates(),
            spreads={name: spread and asdict(spread) for name, spread in load.spreads().items()},
            goodput=goodput and {"a_second": goodput[0], "share": goodput[1]},
            counted_by="our prediction" if not counts.reason else f"the server: {counts.reason}",
            generator=dict(load.generator),
            top_rate=top,
            timings=timings,
        )


def load_job(asked: Asked) -> type[LoadJob]:
    """The job for ``asked``, as a run takes it."""
    return type("AskedLoad", (LoadJob,), {"asked": asked})
