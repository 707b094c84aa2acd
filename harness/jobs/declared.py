"""Jobs that are written down, not programmed: one workload, sent under several settings and in several ways, whose
answers must all be those of the first. A team's own lie in its own repository as TOML, like those in ``e2e``.

    [[job]]
    name = "warm-cold"
    title = "caches off, and cold and warm"
    ways = ["one_by_one", "one_by_one", "crowd"]
    acts = ["encoder_cache", "prefix_cache"]
    [job.settings]
    cold = { encoder_cache = "off", prefix_cache = "off" }
    warm = { encoder_cache = "on", prefix_cache = "on" }
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal

from allpairspy import AllPairs
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from harness.asking import Ask, ask_choices, ask_streamed
from harness.checks.answers import TIE, same_answers
from harness.errors import Lacking, UsageError
from harness.jobs.base import Job, JobContext
from harness.jobs.vit_batching import make_prompts, slicing
from harness.launch.server import Server
from harness.observation import Observation, Prompt, why_untold
from harness.toggles import TOGGLES, find_toggle
from harness.verdict import Verdict
from harness.workloads.drift import drift_prompts

CROWD, CHOICES = 8, 3
Way = Literal["one_by_one", "crowd", "streamed", "choices"]
Workload = Literal["chat", "drift", "multispan"]
Settings = dict[str, dict[str, str]]


ASKING: dict[Way, Ask] = {"streamed": ask_streamed, "choices": ask_choices(CHOICES)}


class Declaration(BaseModel):
    """What a ``[[job]]`` table may hold."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    title: str = Field(min_length=1)
    about: str = ""
    sources: tuple[str, ...] = ()
    invariant: int = Field(default=11, ge=1, le=18)
    """Of the design's list; what a difference breaks."""
    workload: Workload = "chat"
    samples: int = Field(default=16, ge=1)
    settings: Settings = {"as launched": {}}
    """Toggle settings by name. The first are what all others are held against."""
    pairwise: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Toggles and settings of which every pair is met by some launch, in place of ``settings``."""
    ways: tuple[Way, ...] = Field(default=("crowd",), min_length=1)
    """How each launch is asked, one way after the other."""
    acts: tuple[str, ...] = ()
    """Toggles that must act: wherever one has another setting than at first, some answer must say that it did."""
    tie: float = Field(default=TIE, ge=0)
    """Nats within which two tokens count as equally likely."""

    @field_validator("settings", "pairwise", mode="before")
    @classmethod
    def _words(cls, given: Any) -> Any:
        """Whole numbers may be written as such."""
        return _texts(given)

    @model_validator(mode="after")
    def _known(self) -> Declaration:
        for toggles in self.settings.values():
            for name, setting in toggles.items():
                find_toggle(name).check(setting)
        for name, settings in self.pairwise.items():
            for setting in settings:
                find_toggle(name).check(setting)
        for name in self.acts:
            find_toggle(name)
        if self.pairwise and "settings" in self.model_fields_set:
            raise ValueError("settings and pairwise: one of them")
        if len(self.ways) == 1 and len(self.settings) == 1 and not self.pairwise:
            raise ValueError("one setting asked in one way: there is nothing to compare")
        return self


class DeclaredJob(Job):
    declaration: ClassVar[Declaration]
    plantable: ClassVar[bool] = True

    def run(self, context: JobContext) -> None:
        declared = self.declaration
        prompts = _prompts(context, declared)
        first: tuple[str, list[Observation]] | None = None
        settings = launches(declared, context.target.spellings)
        base = next(iter(settings.values()), {})
        for name in declared.pairwise.keys() - base.keys():
            self._unexercised(context, f"{name} with the others", context.target.why_lacking([name]) or "")
        for setting, toggles in settings.items():
            if (lack := context.target.why_lacking(toggles)) is not None:
                self._unexercised(context, setting, lack)
                continue
            plant = context.plant if first is not None or len(settings) == 1 else None
            options = slicing(context) if declared.workload == "multispan" else None
            with context.servers(
                self.name, {setting: context.launch(toggles, options=options, plant=plant)}
            ) as servers:
                found = dict(self._answers(context, servers[setting], prompts))
            idle = _idle([name for name in declared.acts if toggles.get(name) != base.get(name)], found.values())
            first = first or next(iter(found.items()), None)
            for name, answers in found.items():
                if first is not None and answers is not first[1]:
                    context.file(self.name, self._judge(prompts, first, (name, answers), idle))
        context.record_tokens(self.name)

    def _answers(
        self, context: JobContext, server: Server, prompts: Sequence[Prompt]
    ) -> Iterator[tuple[str, list[Observation]]]:
        """Every way of asking in turn. One that the target's adapter lacks is filed as not exercised."""
        for number, way in enumerate(self.declaration.ways):
            name = _name(self.declaration, server.setting, number)
            try:
                yield name, _ask(context, self.name, server, prompts, way)
            except Lacking as lack:
                self._unexercised(context, name, str(lack))

    def _judge(
        self,
        prompts: Sequence[Prompt],
        first: tuple[str, list[Observation]],
        second: tuple[str, list[Observation]],
        idle: str | None,
    ) -> Verdict:
        declared = self.declaration
        return same_answers(
            (first[0], second[0]), prompts, (first[1], second[1]), invariant=declared.invariant,
            source=", ".join(declared.sources), exercised=idle, tie=declared.tie,
        )  # fmt: skip

    def _unexercised(self, context: JobContext, setting: str, lack: str) -> None:
        context.unexercised(self.name, setting, lack, self.declaration.invariant, ", ".join(self.declaration.sources))


def declared_job(table: Mapping[str, Any], where: str) -> type[Job]:
    """The job that a ``[[job]]`` table declares. Raises :class:`UsageError` naming ``where`` and the key."""
    try:
        declared = Declaration.model_validate(table)
    except (ValidationError, UsageError) as error:
        told = words_of(error) if isinstance(error, ValidationError) else error
        raise UsageError(f"{where}: job {table.get('name', '(no name)')}: {told}") from error
    compared = {name for toggles in launches(declared).values() for name in toggles}
    members = {
        "name": declared.name,
        "title": declared.title,
        "about": declared.about,
        "sources": declared.sources,
        "compares": tuple(name for name in TOGGLES if name in compared),
        "declaration": declared,
    }
    return type(f"Declared[{declared.name}]", (DeclaredJob,), members)


def words_of(error: ValidationError) -> str:
    """The first key that is wrong, its value, and why."""
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    value = "" if first["type"] == "missing" else f" = {first['input']!r:.80}"
    return f"{key}{value}: {first['msg']}" if key else first["msg"]


def launches(declared: Declaration, known: Collection[str] = TOGGLES) -> Settings:
    """Toggle settings of each launch by name; for ``pairwise``, as few as have every pair of settings together of the
    toggles that are ``known``.
    """
    if not declared.pairwise:
        return declared.settings
    names = [name for name in declared.pairwise if name in known]
    if len(names) < 2:
        return {f"{name}={setting}": {name: setting} for name in names for setting in declared.pairwise[name]}
    rows = [dict(zip(names, row, strict=True)) for row in AllPairs([list(declared.pairwise[name]) for name in names])]
    return {_differing(row, rows[0]) or "first settings": row for row in rows}


def _differing(row: Mapping[str, str], base: Mapping[str, str]) -> str:
    return " ".join(f"{name}={setting}" for name, setting in row.items() if setting != base[name])


def _prompts(context: JobContext, declared: Declaration) -> list[Prompt]:
    count = context.samples or declared.samples
    if declared.workload == "multispan":
        return make_prompts(context, declared.name, count)
    if declared.workload == "drift":
        questions = context.questions(count, context.seed)
        prompts = drift_prompts(context.vocabulary, questions, context.seed, context.markup)
    else:
        prompts = context.chat_prompts("chat", count)
    context.record_prompts(declared.name, prompts)
    return prompts


def _ask(context: JobContext, job: str, server: Server, prompts: Sequence[Prompt], way: Way) -> list[Observation]:
    crowd = CROWD if way != "one_by_one" else 1
    return context.ask(job, server, prompts, concurrency=crowd, arrival="waves", ask=ASKING.get(way))


def _name(declared: Declaration, setting: str, number: int) -> str:
    """A setting, and how it was asked where that differs."""
    if len(declared.ways) == 1:
        return setting
    way = declared.ways[number].replace("_", " ")
    turn = declared.ways[: number + 1].count(declared.ways[number])
    return f"{setting}, {way}{f' ({turn})' if turn > 1 else ''}"


def _idle(acts: Sequence[str], found: Iterable[Sequence[Observation]]) -> str | None:
    """Which toggle, of those that had to, acted in no answer."""
    answers = [seen for way in found for seen in way]
    for name in acts:
        told = [seen.toggles[name] for seen in answers if name in seen.toggles]
        if not any(one.get("acted") for one in told):
            untold = why_untold(answers, "toggles") or "no answer tells of it"
            reasons = ", ".join(sorted({str(one.get("reason")) for one in told})) or untold
            return f"{name} acted in no answer: {reasons:.160}"
    return None


def _texts(given: Any) -> Any:
    if isinstance(given, bool):
        return given
    if isinstance(given, int):
        return str(given)
    if isinstance(given, Mapping):
        return {name: _texts(one) for name, one in given.items()}
    return [_texts(one) for one in given] if isinstance(given, list | tuple) else given
