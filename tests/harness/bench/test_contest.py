from __future__ import annotations

from pathlib import Path

import pytest

from harness.bench.contest import Contest, Oracle, Wishes, has_gpu
from harness.bench.entries import GPU_ENTRIES, Seat
from harness.bench.table import rows
from harness.progress import Silent
from tests.harness.bench.conftest import STANDINS, Hold, echo


def test_the_slower_contestant_has_a_ratio_over_rounds_that_both_played(hold: Hold) -> None:
    result = hold(echo("quick", seconds=0.002), echo("slow", goal=2.0, seconds=0.01))
    _, slow = rows(result)
    assert slow.ratio is not None
    assert slow.ratio.rounds == 4
    assert slow.ratio.value > 2
    assert slow.outcome == "reached"
    assert result.rate > 0
    assert slow.note == "6 of 6 the same"


def test_a_contestant_with_other_answers_is_reported_and_not_timed(hold: Hold) -> None:
    result = hold(echo("first"), echo("wrong", goal=1.0, wrong="r0003"), echo("oracle"))
    _, wrong, right = rows(result)
    assert result.seats[1].status == "other answers"
    assert result.seats[1].rounds == {}
    assert wrong.ratio is None
    assert wrong.outcome == ""
    assert wrong.note.startswith("other answers: 5 of 6 the same; r0003 parts at token ")
    assert right.ratio is not None


def test_a_contestant_that_cannot_be_loaded_is_reported_with_the_reason(hold: Hold) -> None:
    result = hold(echo("first"), Seat("rival", f"{STANDINS}Broken"), echo("oracle"))
    assert result.seats[1].status == "unavailable"
    assert "No module named 'rival'" in result.seats[1].note


def test_without_the_first_contestant_nothing_is_compared(hold: Hold) -> None:
    result = hold(echo("first", wrong="r0000"), echo("oracle"))
    assert result.note
    assert all(not one.rounds for one in result.seats)


def test_a_far_slower_contestant_plays_fewer_rounds(hold: Hold) -> None:
    seat = Seat("seldom", f"{STANDINS}Echo", {}, None, 2)
    result = hold(echo("first"), seat, echo("oracle"))
    assert [len(one.rounds) for one in result.seats] == [4, 2, 4]


@pytest.mark.skipif(has_gpu(), reason="this machine has one")
def test_without_a_gpu_its_entries_say_so(tmp_path: Path) -> None:
    wishes = Wishes(tmp_path, tmp_path)
    result = Contest(GPU_ENTRIES[0], wishes, Oracle(wishes), Silent()).hold()
    assert result.note == "no GPU"
    assert {one.status for one in result.seats} == {"unavailable"}
