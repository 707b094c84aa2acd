"""Does the alarm ring? A fault was planted on purpose: the very checks that guard a real run must have gone red."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from harness.verdict import Status, Verdict

UNSURE: Mapping[Status, str] = {"not_exercised": "was not exercised", "cannot_tell": "cannot tell"}


def planted_fault_caught(
    fault: str,
    inner: Sequence[Verdict],
    expected: Mapping[str, str],
    *,
    source: str,
    exercised: str | None = None,
) -> Verdict:
    """Every check of ``expected`` (prefix of its name -> what a person calls it) must be among the failed verdicts. One
    that was not exercised, or that too few requests leave unsure, is no miss, and no catch either. ``exercised`` says
    why the fault could not act, if it could not.
    """
    check = f"planted {fault} is caught"
    red = [verdict for verdict in inner if verdict.status == "fail"]
    caught = {called: [v.message for v in red if v.check.startswith(prefix)] for prefix, called in expected.items()}
    missed = {prefix: called for prefix, called in expected.items() if not caught[called]}
    evidence = {"fault": fault, "caught": caught, "inner": [{"check": v.check, "status": v.status} for v in inner]}
    seen, wanted = len(caught) - len(missed), len(caught)
    end = partial(Verdict, check, invariant=3, source=source, figure=seen, threshold=wanted, evidence=evidence)
    by = f"caught by {' and by '.join(called for called, messages in caught.items() if messages)}"
    if not missed:
        return end("pass", by)
    if not seen and exercised is not None:
        return end("not_exercised", exercised)
    unsure = {p: v for v in inner if v.status in UNSURE for p in missed if v.check.startswith(p)}
    if silent := [called for prefix, called in missed.items() if prefix not in unsure]:
        return end("fail", f"not caught by {' nor by '.join(silent)}")
    told = "; ".join(f"{v.check} {UNSURE[v.status]}: {v.message}" for v in unsure.values())
    if seen:
        return end("not_exercised", f"{by}; {told}")
    doubted = any(v.status == "cannot_tell" for v in unsure.values())
    return end("cannot_tell" if doubted else "not_exercised", told)
