"""Reuse of what a processor already computed (sglang#26116): used where it is the request's own, and nowhere else."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from harness.asking import Ask, asking, whole
from harness.checks.answers import same_answers
from harness.checks.foreign_output import not_used
from harness.jobs.base import Job, JobContext
from harness.observation import Observation, Prompt
from harness.targets.base import Call, Target, Tensor
from harness.toggles import TOGGLES
from harness.workloads.chat import Question, chat_text

SAMPLES, AT_ONCE = 16, 4
TOGGLE = TOGGLES["reuse_processor_output"]
INVARIANT = 6


@dataclass(frozen=True)
class Made:
    """What the checkpoint's own processor made of one prompt."""

    ids: tuple[int, ...]
    tensors: Mapping[str, Tensor]


class ProcessorReuse(Job):
    name: ClassVar[str] = "processor-reuse"
    title: ClassVar[str] = "requests that carry their processor's output, used and not used"
    about: ClassVar[str] = (
        "Each request brings its pictures, and what the checkpoint's own processor made of them. Using that must "
        "change no answer. Then its ids are others, of the same length: equal lengths prove nothing, and an output "
        "that is not the request's own must not be used."
    )
    sources: ClassVar[tuple[str, ...]] = (TOGGLE.source,)
    compares: ClassVar[tuple[str, ...]] = (TOGGLE.name,)
    plantable: ClassVar[bool] = True

    def run(self, context: JobContext) -> None:
        if (lack := self._lack(context)) is not None:
            context.unexercised(self.name, "reused = not reused", lack, INVARIANT, TOGGLE.source)
            return
        count = context.samples or SAMPLES
        prompts = context.chat_prompts("reuse", count)
        context.record_prompts(self.name, prompts)
        processed = processor_outputs(context, context.questions(count, context.seed))
        outputs = dict(zip((prompt.name for prompt in prompts), processed, strict=True))
        foreign = {name: replace(made, ids=(*made.ids[:-1], made.ids[0])) for name, made in outputs.items()}
        found: dict[str, list[Observation]] = {}
        for setting in TOGGLE.settings:
            plant = context.plant if setting == TOGGLE.on else None
            with context.servers(self.name, {setting: context.launch({TOGGLE.name: setting}, plant=plant)}) as servers:
                for way, given in (("", outputs), (", another's ids", foreign)):
                    if setting == TOGGLE.on or not way:
                        ask = asking_with(given)
                        found[setting + way] = context.ask(
                            self.name, servers[setting], prompts, concurrency=AT_ONCE, ask=ask
                        )
        context.record_tokens(self.name)
        off, on, other = found.values()
        acted = any(seen.toggles.get(TOGGLE.name, {}).get("acted") for seen in on)
        idle = None if acted else f"no answer says that {TOGGLE.name} acted"
        names = (TOGGLE.off, TOGGLE.on)
        context.file(
            self.name,
            same_answers(names, prompts, (off, on), invariant=INVARIANT, source=TOGGLE.source, exercised=idle),
        )
        context.file(self.name, not_used(prompts, off, other, TOGGLE.name, source=TOGGLE.source))

    def _lack(self, context: JobContext) -> str | None:
        if (lack := context.target.why_without(TOGGLE.name)) is not None:
            return lack
        if importlib.util.find_spec("torchvision") is None:
            return "the checkpoint's own processor needs torchvision here (pip install torchvision)"
        return None


def processor_outputs(context: JobContext, questions: Sequence[Question]) -> list[Made]:
    from reference_engine.hf import load_processor

    processor = load_processor(context.checkpoint)
    made = []
    for asked in questions:
        text = chat_text(len(asked.images), asked.question, markup=context.markup)
        output = processor(text=[text], images=list(asked.images), return_tensors="pt")
        tensors = {
            name: Tensor.of(value.numpy())
            for name, value in output.items()
            if name in ("pixel_values", "image_grid_thw")
        }
        made.append(Made(tuple(output["input_ids"][0].tolist()), tensors))
    return made


def asking_with(outputs: Mapping[str, Made]) -> Ask:
    def make(target: Target, prompt: Prompt) -> Call:
        made = outputs[prompt.name]
        return target.with_processor_output(whole(target, prompt), made.ids, made.tensors)

    return asking(make)
