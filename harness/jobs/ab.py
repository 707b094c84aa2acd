"""Two settings of a target, or two installed releases, until every figure has its verdict: what ``assay ab`` runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

from harness.checks.performance import Compared
from harness.jobs.base import JobContext
from harness.jobs.performance import CACHES, Comparison, Effort, Performance
from harness.stats import THOROUGH
from harness.targets.base import Launch
from harness.toggles import TOGGLES

NAMES = ("baseline", "candidate")
THOROUGH_EFFORT = Effort(loss=0.05, plan=THOROUGH, samples=12)


@dataclass(frozen=True)
class Arms:
    """What sets the two apart. Nothing: A against A."""

    baseline: Mapping[str, str] = field(default_factory=dict)
    candidate: Mapping[str, str] = field(default_factory=dict)
    candidate_python: str | None = None
    """Of the environment that has the candidate's release; None: the baseline's."""

    @property
    def subject(self) -> str:
        first, second = (
            ", ".join(f"{name}={setting}" for name, setting in side.items()) or "as it is"
            for side in (self.baseline, self.candidate)
        )
        return f"{second} against {first}" + (f" ({self.candidate_python})" if self.candidate_python else "")


class ABJob(Performance):
    name: ClassVar[str] = "ab"
    title: ClassVar[str] = "a candidate against a baseline, pair by pair"
    compares: ClassVar[tuple[str, ...]] = ()
    effort: Effort = THOROUGH_EFFORT
    arms: ClassVar[tuple[Arms, ...]] = ()

    def run(self, context: JobContext) -> None:
        prompts = self.prompts(context)
        context.record_prompts(self.name, prompts)
        for arms in self.arms:
            launches = {name: self._arm(context, arms, name) for name in NAMES}
            source = next((TOGGLES[name].source for name in {**arms.baseline, **arms.candidate}), "")
            compared = Compared(arms.subject, NAMES, source, self.effort.loss, self.effort.plan)
            for verdict in Comparison(self.name, self.effort, context, launches, prompts).verdicts(compared):
                context.file(self.name, verdict)

    def _arm(self, context: JobContext, arms: Arms, name: str) -> Launch:
        caches = {cache: TOGGLES[cache].off for cache in CACHES if cache in context.target.spellings}
        launch = context.launch({**caches, **(arms.baseline if name == NAMES[0] else arms.candidate)})
        python = arms.candidate_python if name == NAMES[1] else None
        return launch if python is None else replace(launch, python=python)


def ab_job(arms: Sequence[Arms], effort: Effort) -> type[ABJob]:
    """The job for ``arms``, one comparison after the other, as a run takes it."""
    return type("AskedAB", (ABJob,), {"arms": tuple(arms), "effort": effort})
