"""Every request of a workload is one that an engine must answer: an internal error, or an answer that is none, is red
by itself, whatever the answers of the other requests say. (A refusal, 4xx, is for the job's own checks to judge; rows
that do not fill their spans are for :mod:`harness.checks.spans`.)
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.checks.robustness import INVARIANT, SOURCE
from harness.observation import Observation
from harness.verdict import Verdict

SHOWN = 5


def unanswered(setting: str, seen: Sequence[Observation]) -> Verdict | None:
    """A verdict only where something is wrong: jobs ask many times, and silence is told by all their other checks."""
    failed = [one for one in seen if one.error is not None and one.mismatch is None]
    broken = [one for one in failed if one.status >= 500 or one.status == 200]
    if not broken:
        return None
    first = broken[0]
    return Verdict(
        check=f"every request answered ({setting})",
        status="fail",
        message=f"{len(broken)} of {len(seen)} were not: {first.request} got {first.status}, {str(first.error)[:200]}",
        invariant=INVARIANT,
        source=SOURCE,
        evidence={"requests": [one.request for one in broken], "errors": [one.error for one in broken[:SHOWN]]},
    )
