"""The shipped jobs by name: those of a plain ``assay run`` in their order, and more that are run when named."""

from __future__ import annotations

from collections.abc import Sequence

from harness.errors import UsageError
from harness.jobs.base import Job, JobContext
from harness.jobs.differential import Differential
from harness.jobs.equal_to_alone import EqualToAlone
from harness.jobs.hostile import HostileInputs
from harness.jobs.native_decode import NativeDecode
from harness.jobs.performance import Performance
from harness.jobs.processor_reuse import ProcessorReuse
from harness.jobs.soak import Soak
from harness.jobs.token_drift import TokenDrift
from harness.jobs.token_in_token_out import TokenInTokenOut
from harness.jobs.vit_batching import VitBatching, VitBatchingDrill

JOBS: dict[str, type[Job]] = {
    job.name: job for job in (TokenDrift, VitBatching, VitBatchingDrill, EqualToAlone, Performance)
}

MORE: dict[str, type[Job]] = {
    job.name: job for job in (Differential, HostileInputs, NativeDecode, ProcessorReuse, Soak, TokenInTokenOut)
}
"""Run when named."""

TIMED = frozenset({Performance.name, Soak.name})
"""Jobs whose verdicts are of times or memory: nothing else may run beside them."""

__all__ = ["JOBS", "MORE", "TIMED", "Job", "JobContext", "find_jobs"]


def find_jobs(names: Sequence[str], *, plant: str | None = None, declared: Sequence[type[Job]] = ()) -> list[Job]:
    """Jobs by name, shipped ones and those that a job file declares. For no name, all that are declared, else those of
    ``JOBS``; with a fault to plant, those of them that it can be planted in.
    """
    known = JOBS | MORE | {job.name: job for job in declared}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise UsageError(f"unknown job {unknown[0]!r}; known: {', '.join(known)}")
    names = names or [job.name for job in declared]
    if plant and not names:
        names = [name for name, job in JOBS.items() if job.plantable]
    chosen = [known[name]() for name in dict.fromkeys(names or JOBS)]
    if plant and not any(job.plantable for job in chosen):
        possible = ", ".join(name for name, job in known.items() if job.plantable)
        raise UsageError(f"--plant {plant}: none of the jobs named takes a planted fault; those that do: {possible}")
    return chosen
