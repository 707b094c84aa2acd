"""Statistics behind the checks: paired accuracy, paired ratios, and sequential verdicts at stated error rates."""

from __future__ import annotations

from harness.stats.paired import Outcome, Ratio, judge_ratio, mcnemar_worse, paired_ratio
from harness.stats.sequential import QUICK, THOROUGH, Finding, Plan, judge_pairs, signed_rank_interval

__all__ = [
    "QUICK",
    "THOROUGH",
    "Finding",
    "Outcome",
    "Plan",
    "Ratio",
    "judge_pairs",
    "judge_ratio",
    "mcnemar_worse",
    "paired_ratio",
    "signed_rank_interval",
]
