from __future__ import annotations

from harness.checks.identity import Placeholders
from harness.observation import ItemSeen
from harness.report.token_diff import Chip, chips_run, chips_sent, columns

TEXTS = {1: "Describe", 2: "D", 3: "escribe", 4: "it", 5: "."}
PAD = 9


def texts(row: tuple[Chip, ...]) -> list[str]:
    return [chip.text for chip in row]


def test_merged_tokens_stand_under_the_two_they_came_from() -> None:
    sent = chips_sent([2, 3, 4, PAD, 5], PAD, TEXTS)
    off = chips_run([1, 4, PAD, PAD, 5], [ItemSeen(0, ((2, 3),), (2,))], Placeholders(PAD), TEXTS)
    on = chips_run([2, 3, 4, PAD, PAD, 5], [ItemSeen(0, ((3, 4),), (2,))], Placeholders(PAD), TEXTS)
    first, *others = columns(sent, [off, on])
    assert [texts(row) for row in first.rows] == [["D", "escribe"], ["Describe"], ["D", "escribe"]]
    assert not first.same
    assert all(column.same for column in others)
    assert [texts(column.rows[0]) for column in others] == [["it"], ["1"], ["."]]


def test_every_chip_of_every_row_is_in_some_column() -> None:
    sent = [Chip(str(n), n) for n in (1, 2, 3, 4, 5, 6)]
    runs = [[Chip(str(n), n) for n in ids] for ids in ([1, 2, 7, 7, 3, 5, 6], [0, 1, 2, 3, 4, 5, 6, 8], [], [6, 5, 4])]
    found = columns(sent, runs)
    for row, chips in enumerate([sent, *runs]):
        assert [chip for column in found for chip in column.rows[row]] == list(chips)


def test_equal_stretches_fold_and_differences_and_pictures_stay() -> None:
    sent = chips_sent([4] * 10 + [2, 3] + [4] * 5 + [PAD] + [4], PAD, TEXTS)
    run = chips_sent([4] * 10 + [1] + [4] * 5 + [PAD] + [4], PAD, TEXTS)
    found = columns(sent, [run])
    assert [column.folded or texts(column.rows[0]) for column in found] == [
        *(9, ["it"], ["D", "escribe"], ["it"], 4, ["1"], ["it"])
    ]
