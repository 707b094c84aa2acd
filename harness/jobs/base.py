"""What every job stands on: launch settings, ask them, file verdicts; all of it recorded and shown as it happens."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import ClassVar

from harness.asking import Arrival, Ask, ask_all
from harness.checks.answered import unanswered
from harness.checks.identity import Placeholders
from harness.errors import JobError, TargetDied
from harness.launch.process import ProcessLauncher
from harness.launch.running import Launcher
from harness.launch.server import REQUEST_SECONDS, Server, launched
from harness.observation import Observation, Prompt
from harness.progress import Progress, Silent
from harness.records import Recorder
from harness.targets.base import Launch, Target
from harness.targets.divergences import Divergence, in_the_light_of
from harness.verdict import Filed, Verdict
from harness.vocabulary import Vocabulary
from harness.workloads.chat import QWEN, Markup, Question, chat_prompt
from harness.workloads.drift import sentinel_questions
from harness.workloads.multispan import Questioner, sentinel_questioner


@dataclass
class JobContext:
    """One run's target, model, seed and wishes, and the places where what happens is written down."""

    target: Target
    model: str
    checkpoint: Path
    recorder: Recorder
    progress: Progress = field(default_factory=Silent)
    seed: int = 0
    samples: int | None = None
    """Requests a job sends to each setting; None: the job's own number."""
    toggles: Mapping[str, str] = field(default_factory=dict)
    """Settings for every launch, beyond those that a job compares."""
    plant: str | None = None
    accuracy_floor: float | None = None
    startup_timeout: float | None = None
    """None: the target's own."""
    request_timeout: float = REQUEST_SECONDS
    launcher: Launcher = field(default_factory=ProcessLauncher)
    python: str = sys.executable
    """Of the environment that the target is installed in."""
    engine_args: Sequence[str] = ()
    divergences: Sequence[Divergence] = ()
    questions: Callable[[int, int], list[Question]] = sentinel_questions
    questioner: Questioner = sentinel_questioner
    markup: Markup = QWEN
    filed: list[Filed] = field(default_factory=list)
    seen: dict[tuple[str, str], tuple[list[Prompt], list[Observation]]] = field(default_factory=dict)
    """What each (job, setting) was sent and answered, for a later job that compares with it."""

    def __post_init__(self) -> None:
        self.vocabulary = Vocabulary(self.checkpoint)
        joiner = () if self.markup.owns_spans else self.vocabulary.joiner
        self.placeholders = Placeholders(self.vocabulary.special(self.markup.placeholder), joiner)

    def launch(
        self, toggles: Mapping[str, str], *, options: Mapping[str, str] | None = None, plant: str | None = None
    ) -> Launch:
        settings = {**self.toggles, **toggles}
        return Launch(
            self.model, settings, options or {}, plant, python=self.python, engine_args=tuple(self.engine_args)
        )

    def chat_prompts(self, prefix: str, count: int) -> list[Prompt]:
        """The run's first ``count`` questions as chats, called ``prefix-00`` and on."""
        asked = self.questions(count, self.seed)
        return [
            chat_prompt(self.vocabulary, f"{prefix}-{number:02d}", question, markup=self.markup)
            for number, question in enumerate(asked)
        ]

    def unexercised(self, job: str, check: str, reason: str, invariant: int, source: str) -> None:
        """File that ``check`` has nothing to judge."""
        self.file(job, Verdict(check, "not_exercised", reason, invariant, source))

    def file(self, job: str, verdict: Verdict, *, drill: bool = False) -> None:
        filed = in_the_light_of(self.divergences, self.target, Filed(job, verdict, drill), date.today())
        self.filed.append(filed)
        self.recorder.verdict(filed)
        self.progress.verdict(filed)

    @contextmanager
    def servers(
        self, job: str, launches: Mapping[str, Launch], target: Target | None = None
    ) -> Iterator[dict[str, Server]]:
        """Servers by setting, side by side. Their command lines, readiness, self-description and log tails are
        recorded. ``target``: another one than that under test, as processes of this machine.
        """
        self.progress.step(f"starting {len(launches)} server{'s' if len(launches) > 1 else ''}: {', '.join(launches)}")

        def on_stop(server: Server) -> None:
            self.recorder.event("stop", job=job, setting=server.setting, log_tail=server.running.log_tail())

        def log_file(setting: str) -> Path:
            return self.recorder.logs / f"{job}.{setting}.log"

        asked = target or self.target
        timeout = asked.startup_seconds if self.startup_timeout is None else self.startup_timeout
        with launched(
            ProcessLauncher() if target else self.launcher,
            asked,
            launches,
            log_file,
            timeout=timeout,
            request_timeout=self.request_timeout,
            on_stop=on_stop,
            on_wait=self.progress.step,
        ) as servers:
            for server in servers.values():
                self._record_launch(job, server)
            try:
                yield servers
            except TargetDied as death:
                if target is None:
                    raise
                raise JobError(f"{target.name}, not the target: {death}") from death

    def _record_launch(self, job: str, server: Server) -> None:
        described = server.describe()
        server.target.learn(described)
        self.recorder.event(
            "launch",
            job=job,
            setting=server.setting,
            toggles=dict(server.launch.toggles),
            options=dict(server.launch.options),
            plant=server.launch.plant,
            seconds_to_ready=round(server.running.seconds_to_ready, 3),
            describes=described,
            **server.running.facts(),
        )

    def record_prompts(self, job: str, prompts: Sequence[Prompt]) -> None:
        for prompt in prompts:
            self.recorder.prompt(job, prompt)

    def ask(
        self,
        job: str,
        server: Server,
        prompts: Sequence[Prompt],
        *,
        concurrency: int,
        arrival: Arrival = "closed_loop",
        ask: Ask | None = None,
        refusable: bool = False,
    ) -> list[Observation]:
        """Answers in the prompts' order; each is on disk as soon as it is here. ``ask``: in another way than whole;
        ``refusable``: some of the prompts are malformed.
        """
        self.progress.step(f"asking {server.setting}", len(prompts))

        def on_answer(prompt: Prompt, seen: Observation) -> None:
            self.recorder.answer(job, seen)
            self.progress.advance()

        untold = server.target.why_untold()
        answers = ask_all(server, prompts, concurrency=concurrency, arrival=arrival, on_answer=on_answer, ask=ask)
        found = [replace(seen, lacks=untold) for seen in answers]
        self.seen[job, server.setting] = (list(prompts), found)
        if (verdict := unanswered(server.setting, found, refusable=refusable)) is not None:
            self.file(job, verdict)
        return found

    def ask_settings(
        self,
        job: str,
        launches: Mapping[str, Launch],
        prompts: Sequence[Prompt],
        *,
        concurrency: int,
        arrival: Arrival = "closed_loop",
    ) -> list[list[Observation]]:
        """Answers of each setting in turn, the servers up side by side where the target's size allows it."""
        groups = [launches] if self.target.side_by_side else [{setting: launches[setting]} for setting in launches]
        found = []
        for group in groups:
            with self.servers(job, group) as servers:
                found += [
                    self.ask(job, servers[setting], prompts, concurrency=concurrency, arrival=arrival)
                    for setting in group
                ]
        return found

    def record_tokens(self, job: str) -> None:
        """The text of every token id that the job met, so that a page can be made from the record alone."""
        known = [pair for (of, _), pair in self.seen.items() if of == job]
        ids = {token for prompts, _ in known for prompt in prompts for token in (*prompt.ids, *prompt.retokenized)}
        ids |= {token for _, found in known for seen in found for token in (*(seen.prompt_ids or ()), *seen.output_ids)}
        self.recorder.event(
            "tokens", job=job, texts={str(token): self.vocabulary.token_text(token) for token in sorted(ids)}
        )


class Job(ABC):
    name: ClassVar[str]
    title: ClassVar[str]
    """One line that says what is compared."""
    about: ClassVar[str]
    """What a maintainer should know to read the result: two or three sentences."""
    sources: ClassVar[tuple[str, ...]]
    compares: ClassVar[tuple[str, ...]]
    """Toggles whose settings the job chooses itself."""
    plantable: ClassVar[bool] = False
    """Whether a fault can be planted in it with ``--plant``."""

    @abstractmethod
    def run(self, context: JobContext) -> None:
        """Launch, ask, judge; every verdict through ``context.file``."""
