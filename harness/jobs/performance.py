"""Throughput and time to first token of each toggle's settings, in interleaved rounds, as ratios with intervals.

Both servers are up at the same time and loaded one at a time, in the order A B B A, so that what drifts with the
machine meets both alike. If the first look leaves a figure open, as many rounds again are added; each look has half
the error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

from harness.checks.performance import INVARIANT, THROUGHPUT, TTFT, Metric, not_slower
from harness.jobs.base import Job, JobContext
from harness.launch.server import Server
from harness.observation import Prompt
from harness.targets.base import Launch
from harness.toggles import TOGGLES, Toggle
from harness.verdict import Verdict
from harness.workloads.chat import chat_prompt
from harness.workloads.load import Round, run_round

SAMPLES, CONCURRENCY, NEW_TOKENS = 24, 4, 12
PAIRS_A_LOOK, LOOKS, CONFIDENCE = 8, 2, 0.975
CACHES = ("encoder_cache", "prefix_cache")
METRICS: tuple[Metric, ...] = (THROUGHPUT, TTFT)


@dataclass
class Pairs:
    """Rounds of two settings, paired in time."""

    first: list[Round] = field(default_factory=list)
    second: list[Round] = field(default_factory=list)

    def values(self, metric: Metric) -> tuple[list[float], list[float]]:
        def value(round_: Round) -> float:
            return round_.throughput if metric.name == "throughput" else round_.median_ttft

        return [value(r) for r in self.first], [value(r) for r in self.second]


class Performance(Job):
    name: ClassVar[str] = "performance"
    title: ClassVar[str] = "throughput and time to first token of each setting, interleaved"
    about: ClassVar[str] = (
        "Both settings are served at the same time and loaded in turn, in the order A B B A, always with the same "
        "requests. A ratio comes with an interval: it passes or fails only when the whole interval is on one side "
        "of the limit, and says 'cannot tell' otherwise."
    )
    sources: ClassVar[tuple[str, ...]] = ("sglang#26555", "sglang#25910")
    compares: ClassVar[tuple[str, ...]] = ("avoid_retokenize", "vit_batching")

    def run(self, context: JobContext) -> None:
        questions = context.questions(context.samples or SAMPLES, context.seed)
        prompts = [
            replace(prompt, max_new_tokens=NEW_TOKENS, ignore_eos=True)
            for number, question in enumerate(questions)
            for prompt in [chat_prompt(context.vocabulary, f"load-{number:02d}", question, markup=context.markup)]
        ]
        context.record_prompts(self.name, prompts)
        for name in self.compares:
            if unsupported := context.target.why_without(name):
                context.unexercised(self.name, f"throughput, {name}", unsupported, INVARIANT, TOGGLES[name].source)
                continue
            for verdict in self._compare(context, TOGGLES[name], prompts):
                context.file(self.name, verdict)

    def _launch(self, context: JobContext, toggle: Toggle, setting: str) -> Launch:
        """Every round sends the same requests: what a target would remember of the last round is off."""
        caches = {name: TOGGLES[name].off for name in CACHES if name in context.target.spellings}
        return context.launch({**caches, toggle.name: setting})

    def _compare(self, context: JobContext, toggle: Toggle, prompts: Sequence[Prompt]) -> list[Verdict]:
        names = (f"{toggle.name}={toggle.off}", f"{toggle.name}={toggle.on}")
        settings = zip(names, toggle.settings, strict=True)
        launches = {name: self._launch(context, toggle, setting) for name, setting in settings}
        verdicts: list[Verdict] = []
        with context.servers(self.name, launches) as servers:
            a, b = (servers[name] for name in names)
            context.progress.step(f"warming up {toggle.name}", 2)
            for server in (a, b):
                run_round(server, prompts, concurrency=CONCURRENCY)
                context.progress.advance()
            pairs = Pairs()
            for _ in range(LOOKS):
                self._measure(context, (a, b), prompts, pairs)
                verdicts = [
                    not_slower(
                        metric,
                        toggle.name,
                        (toggle.off, toggle.on),
                        pairs.values(metric),
                        source=toggle.source,
                        confidence=CONFIDENCE,
                    )
                    for metric in METRICS
                ]
                if all(verdict.status != "cannot_tell" for verdict in verdicts):
                    break
        return verdicts

    def _measure(
        self, context: JobContext, servers: tuple[Server, Server], prompts: Sequence[Prompt], pairs: Pairs
    ) -> None:
        context.progress.step(f"loading {servers[0].setting} and {servers[1].setting} in turn", 2 * PAIRS_A_LOOK)
        for number in range(PAIRS_A_LOOK):
            sides = list(zip(servers, (pairs.first, pairs.second), strict=True))
            for server, rounds in sides if number % 2 == 0 else reversed(sides):
                done = run_round(server, prompts, concurrency=CONCURRENCY)
                rounds.append(done)
                context.recorder.event(
                    "round",
                    job=self.name,
                    setting=server.setting,
                    seconds=done.seconds,
                    throughput=done.throughput,
                    median_ttft=done.median_ttft,
                    prompt_tokens=done.prompt_tokens,
                    timings=[vars(timing) for timing in done.timings],
                )
                context.progress.advance()
