"""Throughput, times to and between tokens, processor time and memory of each toggle's settings, as ratios with
intervals.

Both servers are up at the same time and loaded one at a time, in pairs whose order a coin decides; targets of which
only one fits are started anew for each round instead. Figures that are settled stay settled, and the job ends when
all are, or when its last look leaves some open.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from statistics import median
from typing import ClassVar

from harness.checks.performance import INVARIANT, Compared
from harness.jobs.base import Job, JobContext
from harness.launch.server import Server
from harness.load.comparison import Figures, compare
from harness.load.rounds import Round, run_round
from harness.observation import Prompt
from harness.stats import QUICK, Plan
from harness.targets.base import Launch
from harness.toggles import TOGGLES, Toggle
from harness.verdict import Verdict

CACHES = ("encoder_cache", "prefix_cache")


@dataclass(frozen=True)
class Effort:
    """How much is measured, and what may be lost: the share ``loss`` of speed, or of memory."""

    loss: float = 0.2
    plan: Plan = QUICK
    samples: int = 16
    concurrency: int = 4
    new_tokens: int = 12
    one_at_a_time: bool = False
    rounds_a_start: int = 3
    """Rounds of each start in ``one_at_a_time``; their median stands for one."""
    budget: float | None = None
    """Seconds; None: until the last look."""


class Performance(Job):
    name: ClassVar[str] = "performance"
    title: ClassVar[str] = "speed and memory of each setting, measured in turn"
    about: ClassVar[str] = (
        "Both settings are loaded in turn with the same requests, in pairs of rounds whose order a coin decides. A "
        "ratio comes with an interval that holds at every look: it passes or fails only when the whole interval is on "
        "one side of the limit, and says 'cannot tell' otherwise. Processor time and memory are of the server's "
        "processes."
    )
    sources: ClassVar[tuple[str, ...]] = ("sglang#26555", "sglang#25910")
    compares: ClassVar[tuple[str, ...]] = ("avoid_retokenize", "vit_batching")
    effort: Effort = Effort()

    def run(self, context: JobContext) -> None:
        prompts = self.prompts(context)
        context.record_prompts(self.name, prompts)
        for name in self.compares:
            if unsupported := context.target.why_without(name):
                context.unexercised(self.name, f"throughput, {name}", unsupported, INVARIANT, TOGGLES[name].source)
                continue
            for verdict in self._compare(context, TOGGLES[name], prompts):
                context.file(self.name, verdict)

    def prompts(self, context: JobContext) -> list[Prompt]:
        made = context.chat_prompts("load", context.samples or self.effort.samples)
        return [replace(prompt, max_new_tokens=self.effort.new_tokens, ignore_eos=True) for prompt in made]

    def _launch(self, context: JobContext, toggle: Toggle, setting: str) -> Launch:
        """Every round sends the same requests: what a target would remember of the last round is off."""
        caches = {name: TOGGLES[name].off for name in CACHES if name in context.target.spellings}
        return context.launch({**caches, toggle.name: setting})

    def _compare(self, context: JobContext, toggle: Toggle, prompts: Sequence[Prompt]) -> list[Verdict]:
        names = (f"{toggle.name}={toggle.off}", f"{toggle.name}={toggle.on}")
        launches = {n: self._launch(context, toggle, s) for n, s in zip(names, toggle.settings, strict=True)}
        compared = Compared(toggle.name, (toggle.off, toggle.on), toggle.source, self.effort.loss, self.effort.plan)
        return Comparison(self.name, self.effort, context, launches, prompts).verdicts(compared)


@dataclass
class Comparison:
    """Baseline and candidate, in this order, of one job."""

    job: str
    effort: Effort
    context: JobContext
    launches: Mapping[str, Launch]
    prompts: Sequence[Prompt]

    def verdicts(self, compared: Compared) -> list[Verdict]:
        names = list(self.launches)
        self._looks = f"at {', '.join(map(str, compared.plan.looks))} pairs"
        with ExitStack() as stack:
            if self.effort.one_at_a_time or not self.context.target.side_by_side:
                self._step(names)

                def play(side: int) -> Figures:
                    return self._start_and_play(names[side])

            else:
                servers = stack.enter_context(self.context.servers(self.job, self.launches))
                for server in servers.values():
                    run_round(server, self.prompts, concurrency=self.effort.concurrency)  # warm
                self._step(names)

                def play(side: int) -> Figures:
                    return self._play(servers[names[side]]).figures()

            return compare(play, compared, seed=self.context.seed, budget=self.effort.budget)

    def _step(self, names: Sequence[str]) -> None:
        most = 2 * self.effort.plan.looks[-1]
        self.context.progress.step(f"loading {names[0]} and {names[1]} in turn, judged {self._looks}", most)

    def _start_and_play(self, name: str) -> Figures:
        with self.context.servers(self.job, {name: self.launches[name]}) as servers:
            run_round(servers[name], self.prompts, concurrency=self.effort.concurrency)  # warm
            played = [self._play(servers[name]).figures() for _ in range(self.effort.rounds_a_start)]
        return {figure: median(one[figure] for one in played) for figure in played[0]}

    def _play(self, server: Server) -> Round:
        done = run_round(server, self.prompts, concurrency=self.effort.concurrency)
        self.context.recorder.event("round", job=self.job, **done.told())
        self.context.progress.advance()
        return done
