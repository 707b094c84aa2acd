"""Does the alarm ring? A fault was planted on purpose: the very checks that guard a real run must have gone red."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from harness.verdict import Verdict


def planted_fault_caught(fault: str, inner: Sequence[Verdict], expected: Mapping[str, str], *, source: str) -> Verdict:
    """Every check of ``expected`` (prefix of its name -> what a person calls it) must be among the failed verdicts."""
    check = f"planted {fault} is caught"
    red = [verdict for verdict in inner if verdict.status == "fail"]
    caught = {called: [v.message for v in red if v.check.startswith(prefix)] for prefix, called in expected.items()}
    missed = [called for called, messages in caught.items() if not messages]
    evidence = {"fault": fault, "caught": caught, "inner": [{"check": v.check, "status": v.status} for v in inner]}
    seen, wanted = len(caught) - len(missed), len(caught)
    end = partial(Verdict, check, invariant=3, source=source, figure=seen, threshold=wanted, evidence=evidence)
    if not missed:
        return end("pass", f"caught by {' and by '.join(caught)}")
    unclear = [v for v in inner if v.status == "not_exercised" and any(v.check.startswith(p) for p in expected)]
    if unclear:
        return end("not_exercised", f"{unclear[0].check} was not exercised: {unclear[0].message}")
    return end("fail", f"not caught by {' nor by '.join(missed)}")
