"""How a check ends, and what a whole run's exit code is. The words and codes are stated here and nowhere else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Status = Literal["pass", "fail", "not_exercised", "cannot_tell"]

PASSED, FAILED, NOT_DONE, CANNOT_TELL, INTERRUPTED = 0, 1, 2, 3, 130


@dataclass(frozen=True)
class Verdict:
    """One check's judgement. ``evidence`` is plain JSON data, enough to believe the message without the run."""

    check: str
    status: Status
    message: str
    invariant: int
    """Number of the invariant in the design's list."""
    source: str
    """The report that the invariant comes from, such as ``sglang#26555``."""
    figure: float | None = None
    threshold: float | None = None
    evidence: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Filed:
    """A verdict in its place: the job that asked for it, and whether a planted fault was meant to turn it red."""

    job: str
    verdict: Verdict
    drill: bool = False
    known: str | None = None
    """Why this failure does not count: the target is known for it."""

    @property
    def counts(self) -> bool:
        return not self.drill and self.known is None

    @property
    def red(self) -> bool:
        """Whether it fails the run."""
        return self.counts and self.verdict.status == "fail"

    @property
    def message(self) -> str:
        """The verdict's, and why it does not count."""
        return self.verdict.message + (f" [{self.known}]" if self.known else "")


def exit_code(filed: Iterable[Filed], *, incomplete: bool = False) -> int:
    """1 when a check failed; else 2 when the run broke off or tested nothing; else 3 when a check cannot tell; else 0.

    Verdicts of a drill do not count: the drill's own outer verdict says whether the planted fault was caught. Nor do
    failures that the target is known for.
    """
    statuses = {f.verdict.status for f in filed if f.counts}
    if "fail" in statuses:
        return FAILED
    if incomplete or not statuses - {"not_exercised"}:
        return NOT_DONE
    return CANNOT_TELL if "cannot_tell" in statuses else PASSED
