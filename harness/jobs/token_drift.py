"""Token-id drift (sglang#26555): non-canonical prompts with pictures, once through text and once as ids."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from harness.checks.accuracy import INVARIANT as ACCURACY
from harness.checks.accuracy import PAIRED, accuracy_floor, accuracy_unchanged
from harness.checks.drift import EXACT, INVARIANT, drift_is_exact, no_drift
from harness.checks.identity import ids_as_sent
from harness.checks.spans import rows_fill_spans
from harness.jobs.base import Job, JobContext
from harness.observation import Observation, Prompt
from harness.toggles import TOGGLES, Toggle
from harness.workloads.drift import drift_prompts

SAMPLES, CONCURRENCY = 40, 4
AS_IT_IS = "as it is"
"""The one setting of a target that has no switch."""


class TokenDrift(Job):
    name: ClassVar[str] = "token-drift"
    title: ClassVar[str] = "prompts sent as token ids, avoid_retokenize off and on"
    about: ClassVar[str] = (
        "Each prompt spells some words with two tokens where the tokenizer would use one, as a training loop that "
        "samples tokens does. An engine that decodes the ids and tokenizes the text again runs another, shorter "
        "prompt. How many tokens that loses is computed from the tokenizer alone; off must lose exactly those, on "
        "must lose none."
    )
    sources: ClassVar[tuple[str, ...]] = ("sglang#26555",)
    compares: ClassVar[tuple[str, ...]] = ("avoid_retokenize",)

    def run(self, context: JobContext) -> None:
        toggle = TOGGLES["avoid_retokenize"]
        if no_ids := context.target.why_untold().get("input_ids"):
            context.unexercised(self.name, EXACT.format(toggle.off), no_ids, INVARIANT, toggle.source)
            return
        no_switch = context.target.why_without(toggle.name)
        launches = (
            {setting: context.launch({toggle.name: setting}) for setting in toggle.settings}
            if no_switch is None
            else {AS_IT_IS: context.launch({})}
        )
        prompts = drift_prompts(
            context.vocabulary,
            context.questions(context.samples or SAMPLES, context.seed),
            context.seed,
            context.markup,
        )
        context.record_prompts(self.name, prompts)
        *before, last = context.ask_settings(self.name, launches, prompts, concurrency=CONCURRENCY)
        context.record_tokens(self.name)
        if no_switch is None:
            self._judge_off(context, toggle, prompts, before[0], last)
        else:
            context.unexercised(self.name, EXACT.format(toggle.off), no_switch, INVARIANT, toggle.source)
            context.unexercised(self.name, PAIRED, no_switch, ACCURACY, toggle.source)
        kept = toggle.on if no_switch is None else AS_IT_IS
        for verdict in (
            no_drift(kept, prompts, last, context.placeholders),
            ids_as_sent(kept, prompts, last, context.placeholders, context.vocabulary.token_text),
            rows_fill_spans(kept, prompts, last),
            accuracy_floor(kept, prompts, last, context.accuracy_floor, source=toggle.source),
        ):
            context.file(self.name, verdict)

    def _judge_off(
        self,
        context: JobContext,
        toggle: Toggle,
        prompts: Sequence[Prompt],
        off: Sequence[Observation],
        on: Sequence[Observation],
    ) -> None:
        for verdict in (
            drift_is_exact(toggle.off, prompts, off, context.placeholders),
            rows_fill_spans(toggle.off, prompts, off),
            accuracy_unchanged((toggle.off, toggle.on), prompts, (off, on), source=toggle.source),
        ):
            context.file(self.name, verdict)
