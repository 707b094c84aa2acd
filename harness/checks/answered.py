"""Every request of a workload is one that an engine must answer: a refusal, an internal error, or an answer that is
none, is red by itself, whatever the answers of the other requests say: their checks see those alone. (Rows that do not
fill their spans are for :mod:`harness.checks.spans`.)
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.checks.robustness import INVARIANT, SOURCE
from harness.observation import Observation
from harness.verdict import Verdict


def unanswered(setting: str, seen: Sequence[Observation], *, refusable: bool = False) -> Verdict | None:
    """A verdict only where something is wrong: jobs ask many times, and silence is told by all their other checks.
    ``refusable``: there are malformed requests among them, and a refusal (4xx) is for the job's own checks to judge.
    """
    failed = [one for one in seen if one.error is not None and one.mismatch is None]
    wrong = [one for one in failed if not (refusable and 400 <= one.status < 500)]
    if not wrong:
        return None
    first = wrong[0]
    return Verdict(
        check=f"every request answered ({setting})",
        status="fail",
        message=f"{len(wrong)} of {len(seen)} were not: {first.request} got {first.status}, {str(first.error)[:200]}",
        invariant=INVARIANT,
        source=SOURCE,
        evidence={"wrong": [{"request": one.request, "status": one.status, "error": one.error} for one in wrong]},
    )
