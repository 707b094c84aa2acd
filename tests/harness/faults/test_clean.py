"""Runs with nothing planted: each seed is run once, whatever becomes of another, and what is red is told."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.differential.models import MODELS
from harness.faults import clean
from harness.faults.findings import CLEAN, Finding, Journal

RED, DYING = 3, 4


@dataclass
class Fake:
    name: str
    models: tuple[str, ...]
    seed: int = -1

    def load(self, seed: int) -> None:
        self.seed = seed

    def findings(self, fault: str, *, quick: bool) -> Iterator[Finding]:
        assert fault == CLEAN
        if self.seed == DYING:
            os._exit(1)
        for model in self.models or ("all",):
            yield Finding(CLEAN, self.name, "a check", model, (1,), self.seed == RED, "wrong", 1.0)


@pytest.fixture(autouse=True)
def fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        clean, "make_suites", lambda models: {name: Fake(name, models) for name in ("differential", "e2e")}
    )


def run(folder: Path, count: int, suites: tuple[str, ...] = ("differential",), *, quick: bool = True) -> list[str]:
    told: list[str] = []
    journal = Journal(folder / "findings.jsonl")
    clean.run_clean(range(count), suites, (), 2, journal, told.append, quick=quick)
    return told


def seen(folder: Path) -> tuple[list[Finding], list[int]]:
    found, done = Journal(folder / "findings.jsonl").read()
    return found, sorted(one.seed for one in done)


def test_quick_runs_take_one_checkpoint_a_seed_in_turn(tmp_path: Path) -> None:
    run(tmp_path, RED)
    found, done = seen(tmp_path)
    assert done == [0, 1, 2]
    assert sorted(one.where for one in found) == sorted(model.name for model in MODELS[:RED])


def test_full_runs_ask_every_suite_of_all_checkpoints(tmp_path: Path) -> None:
    run(tmp_path, 2, ("differential", "e2e"), quick=False)
    found, done = seen(tmp_path)
    assert done == [0, 0, 1, 1]
    assert {(one.suite, one.where) for one in found} == {("differential", "all"), ("e2e", "all")}


def test_a_false_alarm_is_told_and_a_process_that_dies_is_one(tmp_path: Path) -> None:
    told = "\n".join(run(tmp_path, 6))
    assert f"FALSE ALARM {MODELS[RED].name} a check: wrong" in told
    assert f"FALSE ALARM {MODELS[DYING].name} comes to an end: the process died" in told
    found, done = seen(tmp_path)
    assert done == [0, 1, 2, 3, 4, 5]
    assert sorted(one.check for one in found if one.red) == ["a check", "comes to an end"]


def test_what_is_done_is_not_done_again_and_what_was_left_is(tmp_path: Path) -> None:
    lost = DYING + len(MODELS)  # of the same process, behind the seed that ends it
    run(tmp_path, lost + 1)
    assert seen(tmp_path)[1] == list(range(lost))
    told = run(tmp_path, lost + 1)
    assert told[0] == f"1 clean runs to do, {lost} done before"
    assert seen(tmp_path)[1] == list(range(lost + 1))
