"""Asks a task under each setting and compares the settings question by question: exact McNemar tests, and a floor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from harness.checks.accuracy import accuracy_floor, accuracy_unchanged
from harness.errors import Lacking, UsageError
from harness.jobs.base import Job, JobContext
from harness.observation import Observation, Prompt
from harness.records import load_record
from harness.tasks.base import Sample
from harness.tasks.find import find_task
from harness.toggles import TOGGLES
from harness.workloads.chat import Question, chat_prompt

CROWD = 8
SOURCE = "sglang#26442"
"""What misplaced image rows cost is seen here, and nowhere else."""


@dataclass(frozen=True)
class Plan:
    task: str
    settings: Mapping[str, Mapping[str, str]]
    """Toggle settings by name; the first is what the others are held against."""
    baseline: Path | None = None
    """The record of an earlier run of this job."""


class Accuracy(Job):
    name: ClassVar[str] = "accuracy"
    title: ClassVar[str] = "right answers, question by question"
    about: ClassVar[str] = (
        "The same questions are asked under each setting. What one setting answers right and another does not is "
        "judged by McNemar's exact test on just those questions."
    )
    sources: ClassVar[tuple[str, ...]] = (SOURCE,)
    plantable: ClassVar[bool] = True
    plan: ClassVar[Plan]

    def run(self, context: JobContext) -> None:
        samples = find_task(self.plan.task, context.markup).samples(context.samples, context.seed)
        by_name = {sample.name: sample for sample in samples}
        prompts = [prompt_of(context, sample) for sample in samples]
        context.record_prompts(self.name, prompts)

        def right(prompt: Prompt, seen: Observation) -> bool:
            return seen.ok and by_name[prompt.name].right(seen.text)

        found = self._baseline(prompts)
        for setting, toggles in self.plan.settings.items():
            if (why := context.target.why_lacking(toggles)) is not None:
                raise Lacking(f"{setting}: {why}")
            plant = context.plant if setting == list(self.plan.settings)[-1] else None
            with context.servers(self.name, {setting: context.launch(toggles, plant=plant)}) as servers:
                found[setting] = context.ask(self.name, servers[setting], prompts, concurrency=CROWD)
            floor = accuracy_floor(setting, prompts, found[setting], context.accuracy_floor, source=SOURCE, right=right)
            context.file(self.name, floor)
        first, *others = found
        for other in others:
            pair = (found[first], found[other])
            context.file(self.name, accuracy_unchanged((first, other), prompts, pair, source=SOURCE, right=right))
        context.record_tokens(self.name)

    def _baseline(self, prompts: Sequence[Prompt]) -> dict[str, list[Observation]]:
        return {} if self.plan.baseline is None else {"baseline": read_baseline(self.plan.baseline, prompts)}


def accuracy_job(plan: Plan) -> type[Accuracy]:
    compared = {name for toggles in plan.settings.values() for name in toggles}
    members = {"plan": plan, "compares": tuple(name for name in TOGGLES if name in compared)}
    return type("PlannedAccuracy", (Accuracy,), members)


def prompt_of(context: JobContext, sample: Sample) -> Prompt:
    asked = Question(sample.images, sample.question, sample.expected)
    prompt = chat_prompt(context.vocabulary, sample.name, asked, markup=context.markup)
    return replace(prompt, max_new_tokens=sample.max_new_tokens)


def read_baseline(path: Path, prompts: Sequence[Prompt]) -> list[Observation]:
    """What the first setting of an earlier run answered to these very questions. Raises :class:`UsageError` where that
    run asked others.
    """
    events = [event for event in load_record(path)["events"] if event.get("job") == Accuracy.name]
    asked = {event["name"]: event for event in events if event["event"] == "prompt"}
    answers = [event for event in events if event["event"] == "answer"]
    settings = list(dict.fromkeys(answer["setting"] for answer in answers))
    if not settings:
        raise UsageError(f"--baseline: {path} holds no answers of an accuracy run")
    by_request = {answer["request"]: answer for answer in answers if answer["setting"] == settings[0]}
    for prompt in prompts:
        if not _same_question(asked.get(prompt.name), prompt) or prompt.name not in by_request:
            raise UsageError(f"--baseline: {path} did not ask {prompt.name} ({prompt.question!r}) about these pictures")
    return [_observation(by_request[prompt.name]) for prompt in prompts]


def _same_question(event: Mapping[str, Any] | None, prompt: Prompt) -> bool:
    return (
        event is not None
        and event["question"] == prompt.question
        and event["expected"] == prompt.expected
        and event["pictures"] == [picture.digest for picture in prompt.pictures]
    )


def _observation(event: Mapping[str, Any]) -> Observation:
    return Observation(event["request"], "baseline", event["status"], error=event["error"], text=event["text"])
