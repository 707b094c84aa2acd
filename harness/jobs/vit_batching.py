"""Cross-request ViT batching (sglang#25910, reverted by sglang#26442) on pictures that own several spans, and its
drill.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from harness.checks.accuracy import PAIRED, accuracy_floor, accuracy_unchanged
from harness.checks.drill import planted_fault_caught
from harness.checks.equality import same_tokens
from harness.checks.identity import ids_as_sent
from harness.checks.spans import CHECK as ROWS
from harness.checks.spans import INVARIANT as ROWS_INVARIANT
from harness.checks.spans import rows_fill_spans, rows_unchanged
from harness.jobs.base import Job, JobContext
from harness.launch.server import Server
from harness.observation import Observation, Prompt, why_untold
from harness.targets.base import Launch
from harness.toggles import TOGGLES
from harness.verdict import Verdict
from harness.workloads.multispan import SLICE_ROWS, multispan_prompts

SAMPLES, WAVE = 40, 8
TOGGLE = TOGGLES["vit_batching"]
FAULT, FAULT_SOURCE = "F1-01", "sglang#26442"


class VitBatching(Job):
    name: ClassVar[str] = "vit-batching"
    title: ClassVar[str] = "images encoded one by one, and together across requests"
    about: ClassVar[str] = (
        "Some pictures are tall: the engine cuts them into bands (or the model every picture into tiles), each a span "
        "of its own in the prompt. Requests arrive eight at a time, so that pictures of different requests share an "
        "encoder pass. Sharing it must change nothing: not the rows of any span, not one token of any answer."
    )
    sources: ClassVar[tuple[str, ...]] = ("sglang#25910", "sglang#26442")
    compares: ClassVar[tuple[str, ...]] = (TOGGLE.name,)
    plantable: ClassVar[bool] = True

    def run(self, context: JobContext) -> None:
        if unsupported := context.target.why_without(TOGGLE.name):
            context.unexercised(self.name, ROWS, unsupported, ROWS_INVARIANT, TOGGLE.source)
            return
        prompts = make_prompts(context, self.name, context.samples or SAMPLES)
        launches = {TOGGLE.off: _launch(context, TOGGLE.off), TOGGLE.on: _launch(context, TOGGLE.on, context.plant)}
        with context.servers(self.name, launches) as servers:
            alone, together = (_ask(context, self.name, servers[setting], prompts) for setting in launches)
        context.record_tokens(self.name)
        for verdict in (
            rows_fill_spans(TOGGLE.off, prompts, alone),
            *judge(context, (TOGGLE.off, TOGGLE.on), prompts, alone, together),
            accuracy_floor(TOGGLE.on, prompts, together, context.accuracy_floor, source=TOGGLE.source),
        ):
            context.file(self.name, verdict)


class VitBatchingDrill(Job):
    name: ClassVar[str] = "vit-batching-drill"
    title: ClassVar[str] = f"the same checks with fault {FAULT} planted: they must go red"
    about: ClassVar[str] = (
        "A drill. The reported fault is planted in the engine on purpose: it splits the shared encoder pass by "
        "the first span of each picture, so that every picture after a tall one gets a neighbour's rows. The "
        "checks above are run unchanged. They are expected to fail here; what is judged is whether they do."
    )
    sources: ClassVar[tuple[str, ...]] = (FAULT_SOURCE,)
    compares: ClassVar[tuple[str, ...]] = (TOGGLE.name,)

    def run(self, context: JobContext) -> None:
        if not context.target.plantable:
            reason = context.target.unsupported_because("faults are planted in the reference engine only")
            context.unexercised(self.name, f"planted {FAULT} is caught", reason, ROWS_INVARIANT, FAULT_SOURCE)
            return
        planted = "planted"
        remembered = context.seen.get((VitBatching.name, TOGGLE.off))
        prompts = remembered[0] if remembered else make_prompts(context, self.name, context.samples or SAMPLES)
        if remembered:
            context.record_prompts(self.name, prompts)
            for seen in remembered[1]:
                context.recorder.answer(self.name, seen)
        launches = {} if remembered else {TOGGLE.off: _launch(context, TOGGLE.off)}
        launches[planted] = _launch(context, TOGGLE.on, FAULT)
        with context.servers(self.name, launches) as servers:
            alone = remembered[1] if remembered else _ask(context, self.name, servers[TOGGLE.off], prompts)
            broken = _ask(context, self.name, servers[planted], prompts)
        context.record_tokens(self.name)
        inner = judge(context, (TOGGLE.off, planted), prompts, alone, broken)
        for verdict in inner:
            context.file(self.name, verdict, drill=True)
        expected = {ROWS: "row counts", PAIRED: "accuracy"}
        several = any(len(item.spans) > 1 for seen in alone for item in seen.items)
        exercised = None if several else "no picture has several spans, so the fault could not act"
        judged = planted_fault_caught(FAULT, inner, expected, source=FAULT_SOURCE, exercised=exercised)
        context.file(self.name, judged)


def make_prompts(context: JobContext, job: str, count: int) -> list[Prompt]:
    """Pictures of several spans: of the model's own making, or cut by the engine."""
    if context.markup.owns_spans:
        prompts = context.chat_prompts("batch", count)
    else:
        prompts = multispan_prompts(context.vocabulary, count, context.seed, questioner=context.questioner)
    context.record_prompts(job, prompts)
    return prompts


def slicing(context: JobContext) -> dict[str, str]:
    """The option that has an engine cut tall pictures, where the model does not cut them itself."""
    return {} if context.markup.owns_spans else {"slice_rows": str(SLICE_ROWS)}


def judge(
    context: JobContext,
    names: tuple[str, str],
    prompts: Sequence[Prompt],
    alone: Sequence[Observation],
    together: Sequence[Observation],
) -> list[Verdict]:
    """The checks of the shared setting against the one-by-one setting; the drill runs the very same."""
    unshared = why_not_shared(prompts, together)
    return [
        rows_fill_spans(names[1], prompts, together),
        rows_unchanged(names, prompts, (alone, together)),
        ids_as_sent(names[1], prompts, together, context.placeholders, context.vocabulary.token_text),
        same_tokens(names, prompts, (alone, together), source=TOGGLE.source, exercised=unshared),
        accuracy_unchanged(names, prompts, (alone, together), source=TOGGLE.source),
    ]


def why_not_shared(prompts: Sequence[Prompt], together: Sequence[Observation]) -> str | None:
    """None when a picture with several spans shared its pass with another request's; else why nothing was exercised."""
    shared = [
        seen
        for prompt, seen in zip(prompts, together, strict=True)
        if seen.encoder_batch > len(prompt.pictures) or seen.mismatch is not None
    ]
    if untold := why_untold(together, "encoder_batch"):
        return untold
    if not shared:
        return "no encoder pass held pictures of two requests"
    if not any(len(item.spans) > 1 for seen in shared for item in seen.items) and not any(s.mismatch for s in shared):
        return "no picture with several spans shared an encoder pass"
    return None


def _launch(context: JobContext, setting: str, plant: str | None = None) -> Launch:
    return context.launch({TOGGLE.name: setting}, options=slicing(context), plant=plant)


def _ask(context: JobContext, job: str, server: Server, prompts: Sequence[Prompt]) -> list[Observation]:
    return context.ask(job, server, prompts, concurrency=WAVE, arrival="waves")
