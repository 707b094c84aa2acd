"""What the table says of outcomes, and that nothing unsupported or expected reads as passed."""

from __future__ import annotations

from pathlib import Path

from harness.conformance.suite import Judgement
from harness.conformance.table import cell, markdown, write


def line(test: str, outcome: str, reason: str = "", case: str = "", asked: int = 7) -> dict[str, object]:
    file = "test_offsets.py"
    return {"file": file, "test": test, "case": case, "outcome": outcome, "reason": reason, "asked": asked}


ONE = Judgement("one", "1.0", "ci", 3.0, [line("test_a_b", "pass"), line("test_c", "unsupported", "has none", asked=0)])
OTHER = Judgement(
    "other", "2.0", "ci", 4.0,
    [
        line("test_a_b", "fail", "assert 1 == 2"),
        line("test_c", "pass", case="x"),
        line("test_c", "expected_failure", "known in other 2.0: it cuts", case="y"),
    ],
)  # fmt: skip


def test_a_cell_tells_the_worst_of_its_cases() -> None:
    assert str(cell(ONE, "test_offsets.py", "test_a_b")) == "pass (7)"
    both = cell(OTHER, "test_offsets.py", "test_c")
    assert (str(both), both.worst) == ("1 pass, 1 known failure", "expected_failure")
    assert cell(ONE, "test_offsets.py", "test_none").worst == "unsupported"


def test_rows_are_properties_and_columns_implementations() -> None:
    text = markdown([ONE, OTHER])
    assert "| property | one 1.0 | other 2.0 |" in text
    assert "| a b | pass (7) | FAIL |" in text
    assert "| c | unsupported | 1 pass, 1 known failure |" in text
    assert "| *FAIL* | 0 | 1 |" in text
    assert "- offsets: a b: assert 1 == 2" in text
    assert "- offsets: c[y]: it cuts" in text


def test_three_files_are_written(tmp_path: Path) -> None:
    write([ONE, OTHER], tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        f"conformance.{kind}" for kind in ("html", "json", "md")
    ]
    page = (tmp_path / "conformance.html").read_text()
    assert '<td class="fail">FAIL</td>' in page
    assert "assert 1 == 2" in page
