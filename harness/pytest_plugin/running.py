"""One job as one test: run it, leave its verdicts in the report, end as they say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from harness.errors import JobError
from harness.jobs import TIMED
from harness.session import Outcome, Wishes, run
from harness.verdict import CANNOT_TELL, FAILED, PASSED, Filed


@dataclass(frozen=True)
class JobRunner:
    options: Sequence[str]
    """Of ``assay run``."""
    directory: Path
    retries: int
    record: Callable[[str, object], None]
    """Puts a property into the JUnit report."""
    shares_cores: bool
    """Whether other tests run beside this one."""

    def __call__(self, job: str | Path, **wishes: Any) -> Outcome:
        """Passes, fails, or skips with the reason; the outcome of a job that passed. ``wishes`` are those of
        :class:`~harness.session.Wishes`; what the command line says wins.
        """
        if self.shares_cores and str(job) in TIMED:
            pytest.skip(f"{job}: times are not measured beside other tests; run it with -n0")
        outcome = self._run(job, wishes)
        self._report(outcome)
        if outcome.code == FAILED:
            self._measure_flakes(job, wishes)
            pytest.fail(_red(outcome), pytrace=False)
        if outcome.problem is not None:
            pytest.fail(f"could not be done: {outcome.problem}\nrecord {outcome.record}", pytrace=False)
        if outcome.code != PASSED:
            words = "cannot tell" if outcome.code == CANNOT_TELL else "not exercised"
            pytest.skip(f"{words}: {'; '.join(_line(filed) for filed in outcome.filed)}")
        return outcome

    def _run(self, job: str | Path, wishes: dict[str, Any]) -> Outcome:
        from harness.cli import wishes_of

        try:
            asked: Wishes = wishes_of([str(job), *self.options], directory=self.directory, **wishes)
            return run(asked)
        except JobError as error:
            pytest.fail(str(error), pytrace=False)

    def _report(self, outcome: Outcome) -> None:
        self.record("assay.record", str(outcome.record))
        self.record("assay.exit_code", outcome.code)
        for filed in outcome.filed:
            if not filed.drill:
                self.record(f"assay.{'known_failure' if filed.known else filed.verdict.status}", _line(filed))

    def _measure_flakes(self, job: str | Path, wishes: dict[str, Any]) -> None:
        """A pass on retry clears nothing: it says how often the job fails."""
        if self.retries:
            failed = 1 + sum(self._run(job, wishes).code == FAILED for _ in range(self.retries))
            self.record("assay.flake_rate", f"failed {failed} of {self.retries + 1}")


def _line(filed: Filed) -> str:
    return f"{filed.job}: {filed.verdict.check}: {filed.message}"


def _red(outcome: Outcome) -> str:
    wrong = [_line(filed) for filed in outcome.filed if filed.red]
    return "\n".join([*wrong, f"page   {outcome.page}", f"record {outcome.record}"])
