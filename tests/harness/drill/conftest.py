"""The drill's table at the end of a run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """A line for each drill: how it ended, answers in the record of those given, seconds until nothing was left."""
    rows = [
        (report.outcome, *value)
        for reports in terminalreporter.stats.values()
        for report in reports
        if getattr(report, "when", "") == "call"
        for name, value in report.user_properties
        if name == "drill"
    ]
    if not rows:
        return
    terminalreporter.section("fault drill")
    terminalreporter.write_line(f"{'':7} {'drill':42} {'exit code':>9} {'recorded/given':>15} {'seconds':>8}")
    for outcome, name, code, answers, seconds in rows:
        terminalreporter.write_line(f"{outcome:7} {name:42} {code:>9} {answers:>15} {seconds:>8}")
    good = sum(row[0] == "passed" for row in rows)
    terminalreporter.write_line(f"{good} of {len(rows)} drills: exit code, words, nothing left behind, nothing lost")
