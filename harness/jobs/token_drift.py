"""Token-id drift (sglang#26555): non-canonical prompts with pictures, once through text and once as ids."""

from __future__ import annotations

from typing import ClassVar

from harness.checks.accuracy import accuracy_floor, accuracy_unchanged
from harness.checks.drift import drift_is_exact, no_drift
from harness.checks.identity import ids_as_sent
from harness.checks.spans import rows_fill_spans
from harness.jobs.base import Job, JobContext
from harness.toggles import TOGGLES
from harness.workloads.drift import drift_prompts

SAMPLES, CONCURRENCY = 40, 4


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
        prompts = drift_prompts(
            context.vocabulary,
            context.questions(context.samples or SAMPLES, context.seed),
            context.seed,
            context.markup,
        )
        context.record_prompts(self.name, prompts)
        launches = {setting: context.launch({toggle.name: setting}) for setting in toggle.settings}
        with context.servers(self.name, launches) as servers:
            off, on = (
                context.ask(self.name, servers[setting], prompts, concurrency=CONCURRENCY) for setting in launches
            )
        context.record_tokens(self.name)
        for verdict in (
            drift_is_exact(toggle.off, prompts, off),
            no_drift(toggle.on, prompts, on),
            ids_as_sent(toggle.on, prompts, on, context.placeholders, context.vocabulary.token_text),
            rows_fill_spans(toggle.off, prompts, off),
            rows_fill_spans(toggle.on, prompts, on),
            accuracy_unchanged((toggle.off, toggle.on), prompts, (off, on), source=toggle.source),
            accuracy_floor(toggle.on, prompts, on, context.accuracy_floor, source=toggle.source),
        ):
            context.file(self.name, verdict)
