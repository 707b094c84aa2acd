"""Any target against the reference engine, on the same checkpoint and requests (``assay run differential --target X``).

The target is asked one by one, with warm caches again in a crowd, and told to score its prompts; then the reference
engine answers the same requests and scores what the target answered. A fault planted with ``--plant`` is planted in the
target, never in the reference.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from harness.asking import ask_all, ask_scored
from harness.checks.accuracy import accuracy_floor
from harness.checks.answers import same_answers
from harness.checks.identity import ids_as_sent
from harness.checks.reference import (
    SOURCE,
    TOLERANCES,
    Compared,
    answer_gaps,
    answered_as_reference,
    counts_as_reference,
    greedy_as_reference,
    prompt_gaps,
    prompts_as_reference,
    spans_as_reference,
)
from harness.errors import Lacking, TargetDied
from harness.jobs.base import Job, JobContext
from harness.launch.server import Server
from harness.observation import Observation, Prompt
from harness.targets.base import Launch
from harness.targets.reference import ReferenceTarget

SAMPLES, CROWD = 24, 8
DTYPE = "float32"
ODD, ODD_SECONDS = ", of odd prompts", 60.0
PAST = 2**24
"""No vocabulary has so many tokens; a signed 32-bit number holds it (sglang#31597)."""


class Differential(Job):
    name: ClassVar[str] = "differential"
    title: ClassVar[str] = "the target and the reference engine, token for token and place for place"
    about: ClassVar[str] = (
        "The same checkpoint answers the same requests in the target and in the reference engine. Ids as run, counts "
        "and spans must be equal. Log-probabilities of the very same ids must be as close as rounding allows, at every "
        "place of prompt and answer: a picture that is swapped, shifted or dropped moves those of all text after it, "
        "even where the likeliest token stays the same."
    )
    sources: ClassVar[tuple[str, ...]] = (SOURCE,)
    compares: ClassVar[tuple[str, ...]] = ()
    plantable: ClassVar[bool] = True

    def run(self, context: JobContext) -> None:
        prompts = context.chat_prompts("same", context.samples or SAMPLES)
        context.record_prompts(self.name, prompts)
        dtype = context.toggles.get("dtype", DTYPE)
        toggles = {"dtype": dtype} if "dtype" in context.target.spellings else {}
        with context.servers(self.name, {"target": context.launch(toggles, plant=context.plant)}) as servers:
            alone, crowd, scored, unscored = self._ask_target(context, servers["target"], prompts)
            no_ids = context.target.why_untold().get("input_ids")  # then there is no asking for other ids
            odd = [] if no_ids else odd_prompts(prompts, alone, context.placeholders.id)
            odd_seen = self._ask_odd(context, servers["target"], odd)
        seen = [replace(one, scored=scores.scored) for one, scores in zip(alone, scored, strict=True)]
        pairs = self._ask_reference(context, [*prompts, *odd], [*seen, *odd_seen], len(odd))
        pairs, odd_pairs = pairs[: len(prompts)], pairs[len(prompts) : len(prompts) + len(odd_seen)]
        context.record_tokens(self.name)
        tolerance, text = TOLERANCES[dtype], context.vocabulary.token_text
        for verdict in (
            ids_as_sent("target", prompts, alone, context.placeholders, text),
            answered_as_reference(pairs),
            prompts_as_reference(pairs, text),
            counts_as_reference(pairs),
            spans_as_reference(pairs, context.placeholders),
            prompt_gaps(pairs, tolerance, text, unscored),
            answer_gaps(pairs, tolerance, text),
            greedy_as_reference(pairs, tolerance, text),
            same_answers(("alone", "warm in a crowd"), prompts, (alone, crowd), invariant=11, source=SOURCE),
            accuracy_floor("target", prompts, alone, context.accuracy_floor, source=SOURCE),
            answered_as_reference(odd_pairs, ODD, no_ids),
            prompts_as_reference(odd_pairs, text, ODD, no_ids),
        ):
            context.file(self.name, verdict)

    def _ask_target(
        self, context: JobContext, server: Server, prompts: Sequence[Prompt]
    ) -> tuple[list[Observation], list[Observation], list[Observation], str | None]:
        """Answers one by one, in a crowd, and with scores; and why there are no scores."""
        alone = context.ask(self.name, server, prompts, concurrency=1)
        crowd = context.ask(self.name, server, prompts, concurrency=CROWD, arrival="waves")
        try:
            return alone, crowd, context.ask(self.name, server, prompts, concurrency=1, ask=ask_scored), None
        except Lacking as lack:
            return alone, crowd, alone, str(lack)

    def _ask_odd(self, context: JobContext, server: Server, odd: Sequence[Prompt]) -> list[Observation]:
        """Last of all, one by one: an engine may not live through them. No answer at all has status 0."""
        context.record_prompts(self.name, odd)
        impatient = replace(server, request_timeout=min(server.request_timeout, ODD_SECONDS))
        found: list[Observation] = []
        for prompt in odd:
            try:
                [seen] = ask_all(impatient, [prompt], concurrency=1)
            except TargetDied as death:
                seen = Observation(prompt.name, server.setting, 0, error=" ".join(str(death).split())[:600])
            context.recorder.answer(self.name, seen)
            found.append(replace(seen, lacks=server.target.why_untold()))
        return found

    def _ask_reference(
        self, context: JobContext, prompts: Sequence[Prompt], seen: Sequence[Observation], odd: int
    ) -> list[Compared]:
        """The same requests, and the target's answers as ends of the prompts that they answer; but for those of ``odd``
        prompts, which come last: nobody asks for their scores, and the reference may refuse them.
        """
        ended = [
            replace(prompt, name=f"{prompt.name}-answered", ids=(*prompt.ids, *one.output_ids), max_new_tokens=1)
            for prompt, one in zip(prompts[: len(prompts) - odd], seen, strict=False)
            if one.ok
        ]
        launch = Launch(context.model, {"dtype": DTYPE})
        with context.servers(self.name, {"reference": launch}, ReferenceTarget()) as servers:
            reference = servers["reference"]
            answered = context.ask(self.name, reference, prompts, concurrency=CROWD, ask=ask_scored, refusable=True)
            scores = context.ask(self.name, reference, ended, concurrency=CROWD, ask=ask_scored)
        scored = {prompt.name: one.scored for prompt, one in zip(ended, scores, strict=True)}
        return [
            Compared(prompt, one, reference, scored.get(f"{prompt.name}-answered", ()))
            for prompt, one, reference in zip(prompts, seen, answered, strict=False)
        ]


def odd_prompts(prompts: Sequence[Prompt], seen: Sequence[Observation], placeholder: int) -> list[Prompt]:
    """One prompt of several pictures, its placeholders not one for each, or expanded already, or with an id that is
    none. Nothing in models that write more than placeholders.
    """
    found = next(
        ((p, one) for p, one in zip(prompts, seen, strict=True) if len(p.pictures) > 1 and not p.written), None
    )
    if found is None:
        return []
    prompt, (first, *_) = found[0], [at for at, token in enumerate(found[0].ids) if token == placeholder]
    forms = {
        "expanded already": found[1].prompt_ids or prompt.ids,
        "a placeholder more": (*prompt.ids, placeholder),
        "a placeholder fewer": (*prompt.ids[:first], *prompt.ids[first + 1 :]),
        "no placeholder": tuple(token for token in prompt.ids if token != placeholder),
        "an id past the vocabulary": (*prompt.ids, PAST),
    }
    return [replace(prompt, name=name, ids=tuple(ids)) for name, ids in forms.items()]
