"""The command: names, resuming, the matrix; and jobs in processes of their own, whatever becomes of them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.cli import main
from harness.errors import UsageError
from harness.faults.findings import CLEAN, Done, Finding, Journal
from harness.faults.forking import run_forked
from harness.faults.matrix import Matrix, markdown, page
from harness.faults.run import Wishes, choose, state_of
from reference_engine.faults import FAULTS, read_reports

SEEN = Finding("F1-01", "differential", "alone = oracle", "random-idefics3", (2, 11), True, "other | rows", 1.5)


def matrix(*findings: Finding) -> Matrix:
    done = [Done(one.fault, one.suite, one.seconds) for one in findings]
    return Matrix.of(findings, done, FAULTS, read_reports())


def test_the_catalogue_is_listed_and_shown(capsys: Any) -> None:
    assert main(["faults", "list"]) == 0
    assert "128 reports: 104 planted, 11 merged with one of these, 13 not possible here" in capsys.readouterr().out
    assert main(["faults", "show", "F5-15"]) == 0
    assert "F5-17 (for F5-15, of the same mechanism)" in capsys.readouterr().out
    assert main(["faults", "show", "F8-09"]) == 0
    assert "F8-09 is not planted: vllm#43153: a kernel of one card" in capsys.readouterr().out
    assert main(["faults", "show", "F9-99"]) == 2


def test_faults_are_chosen_by_id_family_or_all() -> None:
    assert choose(Wishes(faults=("F5-15", "F1-01"), families=("F10",)))[:1] == ["F10-09"]
    assert {"F5-17", "F1-01"} < set(choose(Wishes(faults=("F5-15", "F1-01"), families=("F10",))))
    assert choose(Wishes(all=True)) == list(FAULTS)
    assert choose(Wishes(all=True, every=10)) == list(FAULTS)[::10]
    for wrong in (Wishes(faults=("F9-99",)), Wishes(families=("F11",))):
        with pytest.raises(UsageError, match="unknown"):
            choose(wrong)


def test_naming_nothing_or_both_is_refused(capsys: Any) -> None:
    assert main(["faults", "run"]) == 2
    assert main(["faults", "run", "F1-01", "--clean", "3"]) == 2
    assert "name faults, --family F or --all; or --clean N" in capsys.readouterr().err


def test_survivors_come_first_and_no_fault_is_its_own_witness() -> None:
    lived = Finding("F4-07", "differential", "alone = oracle", "random-qwen2", (2, 11), False, "", 1.0)
    alarm = replace(SEEN, fault=CLEAN)
    made = matrix(SEEN, lived, alarm)
    assert [row.fault.id for row in made.rows] == ["F4-07", "F1-01"]
    assert [row.own for row in made.rows] == [False, True]
    assert made.summary()["killed"] == "1 of 2"
    assert made.summary()["false alarms"] == "1 in 1 checks with nothing planted"
    assert made.summary()["runs with nothing planted"] == "differential 1"
    text = markdown(made, "assay faults run", "a machine")
    assert text.index("**F4-07**") < text.index("| F1-01 |")
    assert "other \\| rows" in text
    assert "other | rows" in page(made, "assay faults run", "a machine")


def test_another_invariant_than_the_fault_breaks_is_not_its_own() -> None:
    [row] = matrix(replace(SEEN, invariants=(7,))).rows
    assert row.red
    assert not row.own


def test_a_job_that_broke_off_is_not_done(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "findings.jsonl")
    assert journal.read() == ([], [])
    journal.add([SEEN])
    assert journal.read() == ([], [])
    done = Done("F1-01", "differential", 3.0)
    journal.add([done])
    assert journal.read() == ([SEEN], [done])


def test_a_change_of_code_or_options_leaves_what_was_found_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    mine = tmp_path / "a_fault_of_mine.py"
    mine.write_text("ONE = 1\n", encoding="utf-8")
    wishes = Wishes(faults=("a_fault_of_mine:ONE",))
    states = [
        state_of(wishes),
        state_of(replace(wishes, quick=True)),
        state_of(replace(wishes, models=("random-qwen2",))),
    ]
    mine.write_text("ONE = 2\n", encoding="utf-8")
    states.append(state_of(wishes))
    assert len(set(states)) == 4
    assert state_of(replace(wishes, seed=5, out=tmp_path)) == states[-1]


def test_a_finding_may_quote_what_text_calls_a_line_end(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "findings.jsonl")
    quoting = replace(SEEN, message="the answer was 1\u20282\x853")
    journal.add([quoting, Done(SEEN.fault, SEEN.suite, 3.0)])
    assert journal.read()[0] == [quoting]


def test_what_callers_cannot_see_is_counted_apart_and_says_why() -> None:
    hidden = replace(SEEN, fault="F1-08", red=False)
    visible = [replace(SEEN, suite="e2e"), replace(SEEN, fault="F4-07", suite="e2e", red=False)]
    made = matrix(*visible, hidden)
    assert made.summary()["killed over HTTP, with no evidence asked"] == "1 of 2 that a caller can see (50%)"
    assert made.summary()["said to be hidden from callers"] == "1, 0 of them killed over HTTP"
    assert f"- F1-08: {FAULTS['F1-08'].hidden}" in markdown(made, "assay faults run", "a machine")
    lie = matrix(*visible, replace(hidden, suite="e2e", red=True))
    assert lie.summary()["said to be hidden from callers"] == "1, 1 of them killed over HTTP"


def _work(job: str) -> Iterator[int]:
    yield 1
    if job == "raises":
        raise ValueError("so it does")
    if job == "dies":
        os._exit(3)
    yield 2


def test_jobs_end_whatever_becomes_of_them() -> None:
    ended = {one.job: (one.items, one.trouble) for one in run_forked(["works", "raises", "dies"], _work, workers=2)}
    assert ended == {
        "works": ([1, 2], None),
        "raises": ([1], "ValueError: so it does"),
        "dies": ([1], "the process died"),
    }
