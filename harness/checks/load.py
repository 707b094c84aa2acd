"""What a load must show before its figures mean anything, and whether it met its objective."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from scipy.stats import binomtest

from harness.load.timing import Load, Objective
from harness.verdict import Status, Verdict

CONFIDENCE = 0.99


def all_answered(load: Load) -> Verdict:
    """Invariant 17. Failed requests are in every share; a rate of fast refusals is no throughput."""
    failed = load.errors
    evidence = {"wrong": [{"request": t.request, "error": t.error} for t in failed]}
    if not load.counted:
        return Verdict("every request answered", "not_exercised", "none was sent after the warm-up", 17, "")
    told = f"{len(failed)} of {len(load.counted)} failed" + (f"; the first: {failed[0].error}" if failed else "")
    status: Status = "fail" if failed else "pass"
    return Verdict("every request answered", status, told, 17, "vllm#34789", len(failed), 0, evidence)


def generator_kept_up(load: Load, bottlenecks: Sequence[str]) -> Verdict:
    """Figures that may be the generator's own are nobody's."""
    check, own = "the generator kept up", load.generator
    evidence = {"generator": dict(own), "bottlenecks": list(bottlenecks)}
    if bottlenecks:
        return Verdict(check, "cannot_tell", "; ".join(bottlenecks), 18, "", evidence=evidence)
    told = f"{own['cpu_share']:.0%} of a processor, {own['cpu_ms_a_request']:.2f} ms a request, "
    told += f"clock late by at most {1000 * own['late_p99']:.1f} ms in 99 %"
    return Verdict(check, "pass", told, 18, "", evidence=evidence)


def usage_as_predicted(load: Load, no_prediction: str) -> Verdict:
    """The server's ``usage.prompt_tokens`` against our own count, image tokens included (sglang#38035, sglang#40356,
    vllm-omni#4459).
    """
    check, source = "prompt tokens as predicted", "sglang#38035"
    known = [t for t in load.good if t.prompt_tokens is not None and t.predicted_tokens is not None]
    if not known:
        why = no_prediction or "the server told no usage" if load.good else "no request was answered"
        return Verdict(check, "not_exercised", why, 7, source)
    server, ours = sum(t.prompt_tokens or 0 for t in known), sum(t.predicted_tokens or 0 for t in known)
    wrong = [t for t in known if t.prompt_tokens != t.predicted_tokens]
    images = sum(t.image_tokens or 0 for t in known)
    told = f"server {server}, ours {ours} ({images} of images) in {len(known)} requests"
    if wrong:
        told += f": {len(wrong)} differ, {server / ours:.2f} times ours in all; throughput here counts ours"
    evidence: dict[str, Any] = {
        "wrong": [{"request": t.request, "server": t.prompt_tokens, "ours": t.predicted_tokens} for t in wrong]
    }
    return Verdict(check, "fail" if wrong else "pass", told, 7, source, server / ours, 1.0, evidence)


def objective_met(load: Load, objective: Objective, wanted: float, bottlenecks: Sequence[str]) -> Verdict:
    """Share of all requests sent that met every limit, with the exact interval of a share: three outcomes."""
    rate, share = load.goodput(objective)
    limits = ", ".join(f"{name} {1000 * limit:g} ms" for name, limit in vars(objective).items() if limit is not None)
    check = f"goodput within {limits}"
    if not load.counted:
        return Verdict(check, "not_exercised", "none was sent after the warm-up", 18, "")
    met, sent = sum(objective.met(timing) for timing in load.counted), len(load.counted)
    found = binomtest(met, sent).proportion_ci(CONFIDENCE)
    told = f"{met} of {sent} requests ({share:.1%} [{found.low:.1%}, {found.high:.1%}]), {rate:.2f} a second; "
    told += f"at least {wanted:.0%} wanted"
    if bottlenecks:
        status: Status = "cannot_tell"
        told += "; the generator was the bottleneck"
    else:
        status = "pass" if found.low >= wanted else "fail" if found.high < wanted else "cannot_tell"
    evidence = {"met": met, "sent": sent, "low": found.low, "high": found.high, "a_second": rate}
    return Verdict(check, status, told, 18, "", share, wanted, evidence)
