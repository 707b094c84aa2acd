from __future__ import annotations

import json

import pytest

from harness.bench.contest import EntryResult, SeatResult
from harness.bench.entries import ENTRIES, GPU_ENTRIES, Entry, Seat, choose
from harness.bench.report import page
from harness.bench.run import Outcome
from harness.bench.table import as_json, markdown, ratio_of, rows
from harness.bench.workloads import Workload
from harness.errors import UsageError

ENVIRONMENT = {"begun": "today", "machine": {"processor": "slow & old", "cores": 2}, "threads": 1}


def rounds(*seconds: float) -> dict[int, dict[str, float]]:
    return {n: {"seconds": s, "cpu_seconds": s, "load": 1.5, "latency": s} for n, s in enumerate(seconds)}


@pytest.fixture
def result() -> EntryResult:
    seats = (Seat("ours", "ours"), Seat("rival", "vllm", {}, 2.0), Seat("liar", "generate"))
    entry = Entry("one", "a title", Workload(4, (1, 2)), seats)
    found = EntryResult(entry, [SeatResult(seat) for seat in seats], 4, 6, 12.5)
    found.seats[0].rounds = rounds(1.0, 1.0, 1.0, 1.0)
    found.seats[1].rounds = rounds(3.0, 3.1, 2.9)
    found.seats[2].drop_out("other answers", "3 of 4 the same; r0000 parts at token 1: 5 | 2")
    return found


def test_a_ratio_pairs_rounds_by_number(result: EntryResult) -> None:
    ours, rival, liar = result.seats
    rival.rounds = {1: {"seconds": 4.0}, 3: {"seconds": 6.0}}
    ours.rounds[3]["seconds"] = 2.0
    ratio = ratio_of(ours, rival, "seconds")
    assert ratio is not None
    assert ratio.rounds == 2
    assert ratio.value == pytest.approx(5.0 / 1.5)
    assert ratio_of(ours, liar, "seconds") is None


def test_a_goal_is_reached_missed_or_open(result: EntryResult) -> None:
    assert rows(result)[1].outcome == "reached"
    result.seats[1].rounds = rounds(1.5, 1.6, 1.4)
    assert rows(result)[1].outcome == "missed"
    result.seats[1].rounds = rounds(1.0, 3.0, 2.0)
    assert rows(result)[1].outcome == "cannot tell"


def test_the_markdown_says_ratio_goal_answers_and_load(result: EntryResult) -> None:
    text = markdown([result], ENVIRONMENT, {"memory": {"peak": 12.0}})
    assert "| rival | 3 | 3.00 [2.90, 3.10] | 3.00 [2.90, 3.10] | 2 | reached | 3 |" in text
    assert "| liar |  |  |  |  |  | 0 | other answers: 3 of 4 the same; r0000 parts at token 1: 5 / 2 |" in text
    assert "arrivals Poisson, 12.5 a second" in text
    assert "Load average of the machine while it ran: 1.5 to 1.5." in text
    assert "- peak: 12" in text


def test_the_record_holds_every_round(result: EntryResult) -> None:
    record = json.loads(as_json([result], ENVIRONMENT, {}))
    assert record["entries"][0]["seats"][1]["rounds"]["0"]["seconds"] == 3.0
    assert record["entries"][0]["rows"][1]["ratio"]["value"] == 3.0


def test_the_page_shows_each_ratio_once_and_who_was_not_timed(result: EntryResult) -> None:
    html = page(Outcome([result], ENVIRONMENT, {}))
    assert html.count('<svg class="ratio pass"') == 1
    assert "slow &amp; old" in html
    assert "other answers" in html


def test_entries_have_names_of_their_own_and_are_chosen_by_them() -> None:
    assert len({entry.name for entry in ENTRIES}) == len(ENTRIES)
    assert choose([]) == [*ENTRIES, *GPU_ENTRIES]
    assert [entry.name for entry in choose(["text"])] == ["text"]
    with pytest.raises(UsageError, match="unknown entry 'speed'"):
        choose(["speed"])
