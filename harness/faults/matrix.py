"""The kill matrix: faults against checks, survivors first. Pure: from findings to rows, Markdown and a page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from jinja2 import Environment, PackageLoader, StrictUndefined

from harness.faults.findings import CLEAN, Done, Finding, states
from harness.markdown import table_row
from harness.surroundings import assay_version
from reference_engine.faults import Fault, Reports

OUTSIDE = "e2e"
"""The suite that knows nothing but what comes over HTTP."""


@dataclass(frozen=True)
class Row:
    """What became of one fault."""

    fault: Fault
    red: tuple[Finding, ...]
    asked: int
    """Checks that were asked."""

    @property
    def first(self) -> Finding | None:
        return min(self.red, key=lambda one: one.seconds, default=None)

    @property
    def own(self) -> bool:
        """Whether a check that states the fault's own invariant is among those that saw it."""
        return any(is_own(one) for one in self.red)

    def suites(self) -> tuple[str, ...]:
        return tuple(sorted({one.suite for one in self.red}))


@dataclass(frozen=True)
class Matrix:
    rows: tuple[Row, ...]
    """Survivors first, then those that their own invariant's checks do not see, then by id."""
    checks: tuple[tuple[str, str], ...]
    """(suite, check), in the order in which they were first asked."""
    clean: tuple[Finding, ...]
    """Findings with no fault planted."""
    clean_runs: Mapping[str, int]
    """By suite, how many seeds it ran through with no fault planted."""
    reports: Reports

    @classmethod
    def of(
        cls, findings: Sequence[Finding], done: Sequence[Done], faults: Mapping[str, Fault], reports: Reports
    ) -> Matrix:
        asked = {one.fault for one in findings}
        checks = dict.fromkeys((one.suite, one.check) for one in findings)
        rows = [_row(fault, findings) for name, fault in faults.items() if name in asked]
        rows.sort(key=lambda row: (bool(row.red), row.own, _in_order(row.fault.id)))
        clean = tuple(one for one in findings if one.fault == CLEAN)
        clean_runs = Counter(one.suite for one in done if one.fault == CLEAN)
        return cls(tuple(rows), tuple(checks), clean, clean_runs, reports)

    @property
    def survivors(self) -> list[Row]:
        return [row for row in self.rows if not row.red]

    def summary(self) -> dict[str, str]:
        killed = [row for row in self.rows if row.red]
        of_catalogue = [row for row in self.rows if row.fault.id in self.reports.ids]
        times = [row.first.seconds for row in killed if row.first]
        alarms = [one for one in self.clean if one.red]
        visible = [row for row in self.rows if row.fault.shows_outside]
        outside = [row for row in visible if OUTSIDE in row.suites()]
        suites = sorted({suite for suite, _ in self.checks})
        return {
            "faults run": f"{len(self.rows)}, {len(of_catalogue)} of them reports of the catalogue",
            "killed": f"{len(killed)} of {len(self.rows)}",
            "killed by a check of their own invariant": f"{sum(row.own for row in self.rows)} of {len(self.rows)}",
            "killed over HTTP, with no evidence asked": f"{len(outside)} of {len(visible)} that a caller can see "
            f"({len(outside) / max(1, len(visible)):.0%})",
            "said to be hidden from callers": f"{sum(bool(row.fault.hidden) for row in self.rows)}, "
            f"{sum(OUTSIDE in row.suites() for row in self.rows if row.fault.hidden)} of them killed over HTTP",
            "median time to detection": f"{median(times):.2f} s of processor time" if times else "none",
            "longest time to detection": f"{max(times):.1f} s" if times else "none",
            "killed by suite": ", ".join(f"{s} {sum(s in row.suites() for row in killed)}" for s in suites),
            "false alarms": f"{len(alarms)} in {len(self.clean)} checks with nothing planted",
            "runs with nothing planted": ", ".join(f"{s} {n}" for s, n in sorted(self.clean_runs.items())) or "none",
        }


def is_own(finding: Finding) -> bool:
    """Whether the check states the invariant that the fault breaks."""
    return states(finding.invariants, finding.fault)


def _row(fault: Fault, findings: Sequence[Finding]) -> Row:
    own = [one for one in findings if one.fault == fault.id]
    return Row(fault, tuple(one for one in own if one.red), len({(one.suite, one.check) for one in own}))


def _in_order(fault_id: str) -> tuple[int, int, str]:
    """Catalogue ids by number, others behind them."""
    family, _, number = fault_id.partition("-")
    if family[1:].isdigit() and number.isdigit():
        return int(family[1:]), int(number), ""
    return 1 << 30, 0, fault_id


def markdown(matrix: Matrix, command: str, machine: str) -> str:
    lines = ["# Kill matrix", "", f"`{command}`, {machine}, Assay {assay_version()}", ""]
    lines += [f"- {name}: **{value}**" for name, value in matrix.summary().items()]
    lines += ["", "## Survivors", "", *_survivors(matrix)]
    lines += ["", "## Faults", "", "| fault | seen after | first by | seen by | own invariant | first evidence |"]
    lines += ["|---|---|---|---|---|---|"]
    lines += [_line(row) for row in matrix.rows if row.first]
    lines += ["", "## Faults and checks", "", "A number is that of a check below; `+` says that it was red.", ""]
    lines += _table(matrix)
    lines += ["", "## Hidden from callers", ""]
    lines += [f"- {row.fault.id}: {row.fault.hidden}" for row in matrix.rows if row.fault.hidden]
    lines += ["", "## Not planted", ""]
    lines += [f"- {report}: {reason}" for report, reason in matrix.reports.unplanted.items()]
    lines += [f"- {report}: the mechanism of {fault}" for report, fault in matrix.reports.merged.items()]
    return "\n".join(lines) + "\n"


def _survivors(matrix: Matrix) -> list[str]:
    if not matrix.survivors:
        return ["None."]
    return [
        f"- **{row.fault.id}** ({row.fault.reference}): {row.fault.summary}. Acts when: {row.fault.acts_when}"
        for row in matrix.survivors
    ]


def _line(row: Row) -> str:
    assert row.first is not None
    where = f" on {row.first.where}" if row.first.where else ""
    return table_row((
        row.fault.id, f"{row.first.seconds:.2f} s", f"{row.first.check}{where}", str(len(row.red)),
        "yes" if row.own else "no", row.first.message[:160],
    ))  # fmt: skip


def _table(matrix: Matrix) -> list[str]:
    red_somewhere = {(one.suite, one.check) for row in matrix.rows for one in row.red}
    shown = [check for check in matrix.checks if check in red_somewhere]
    lines = [f"{i}. {suite}: {check}" for i, (suite, check) in enumerate(shown, 1)]
    lines += [
        "",
        f"| fault | {' | '.join(str(i) for i in range(1, len(shown) + 1))} |",
        "|---" * (len(shown) + 1) + "|",
    ]
    for row in matrix.rows:
        red = {(one.suite, one.check) for one in row.red}
        lines.append(f"| {row.fault.id} | {' | '.join('+' if check in red else ' ' for check in shown)} |")
    return lines


def page(matrix: Matrix, command: str, machine: str) -> str:
    """The same as a page that stands alone."""
    red_somewhere = {(one.suite, one.check) for row in matrix.rows for one in row.red}
    environment = Environment(
        loader=PackageLoader("harness.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template("faults.html.j2").render(
        assay=assay_version(),
        command=command,
        machine=machine,
        summary=matrix.summary(),
        survivors=matrix.survivors,
        rows=matrix.rows,
        checks=[check for check in matrix.checks if check in red_somewhere],
        red_of={row.fault.id: {(one.suite, one.check): one.message for one in row.red} for row in matrix.rows},
        reports=matrix.reports,
    )
