"""Batch invariance (vllm#51902): every request by itself first, then in a crowd, compared bit for bit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

from harness.checks.equality import ALONE, INVARIANT, equal_to_alone
from harness.jobs.base import Job, JobContext
from harness.jobs.vit_batching import WAVE, make_prompts, slicing, why_not_shared
from harness.observation import Observation
from harness.targets.base import Launch
from harness.toggles import TOGGLES

SAMPLES = 16
TOGGLE = TOGGLES["batch_invariant"]
QUIET = {"encoder_cache": "off", "prefix_cache": "off", "vit_batching": "per_item", "chunked_prefill": "0"}
BUSY = {"encoder_cache": "on", "prefix_cache": "on", "vit_batching": "cross_request", "chunked_prefill": "24"}
"""What a crowd adds: rows and prefixes of others, passes and steps shared with them, prompts cut inside pictures."""


class EqualToAlone(Job):
    name: ClassVar[str] = "equal-to-alone"
    title: ClassVar[str] = "each request by itself, and in a crowd: the same bits"
    about: ClassVar[str] = (
        "With batch_invariant on an engine promises that neighbours change nothing, not even rounding. Each request "
        "is sent once by itself to a server that shares and keeps nothing, and twice in a crowd to one that batches "
        "encoder passes, cuts prompts and has warm caches. Token ids and log-probabilities are compared with ==, so "
        "any leak between requests, however small, is a bit that differs."
    )
    sources: ClassVar[tuple[str, ...]] = (TOGGLE.source,)
    compares: ClassVar[tuple[str, ...]] = (TOGGLE.name,)
    plantable: ClassVar[bool] = True

    def run(self, context: JobContext) -> None:
        if unsupported := context.target.why_without(TOGGLE.name):
            context.unexercised(self.name, ALONE, unsupported, INVARIANT, TOGGLE.source)
            return
        prompts = make_prompts(context, self.name, context.samples or SAMPLES)
        again = [replace(prompt, name=f"{prompt.name}-again") for prompt in reversed(prompts)]
        for prompt in again:
            context.recorder.prompt(self.name, prompt)
        launches = {"alone": _launch(context, QUIET), "crowd": _launch(context, BUSY, context.plant)}
        everybody = [*prompts, *again]
        alone, crowd = (
            context.ask_settings(self.name, {name: launch}, sent, concurrency=at_once, arrival="waves")[0]
            for (name, launch), sent, at_once in zip(launches.items(), (prompts, everybody), (1, WAVE), strict=True)
        )
        context.record_tokens(self.name)
        twice = [*alone, *reversed(alone)]
        unmet = why_not_promised(crowd) or why_not_shared(everybody, crowd)
        verdict = equal_to_alone(everybody, twice, crowd, source=TOGGLE.source, exercised=unmet)
        context.file(self.name, verdict)


def why_not_promised(crowd: Sequence[Observation]) -> str | None:
    """None if some answer says that the toggle acted."""
    told = [seen.toggles.get(TOGGLE.name, {}) for seen in crowd]
    return None if any(toggle.get("acted") for toggle in told) else f"no answer says that {TOGGLE.name} acted"


def _launch(context: JobContext, settings: Mapping[str, str], plant: str | None = None) -> Launch:
    """What a target does not know of is left as it is there."""
    known = {name: setting for name, setting in settings.items() if name in context.target.spellings}
    return context.launch({**known, TOGGLE.name: TOGGLE.on}, options=slicing(context), plant=plant)
