from __future__ import annotations

from observations import answer, prompt, refused

from harness.checks.spans import rows_fill_spans, rows_unchanged
from harness.observation import ItemSeen, Observation, RowMismatch


def test_every_span_filled_passes() -> None:
    assert rows_fill_spans("on", [prompt(spans=(1,))], [answer()]).status == "pass"


def test_one_row_short_names_request_picture_span_and_counts() -> None:
    short = answer(items=(ItemSeen(0, ((2, 5),), (3,)),))
    verdict = rows_fill_spans("on", [prompt()], [short])
    assert verdict.status == "fail"
    assert "p, image 1, span 2 to 5: 4 placeholders, 3 encoder rows" in verdict.message
    (entry,) = verdict.evidence["wrong"]
    assert (entry["request"], entry["item"], entry["placeholders"], entry["rows"]) == ("p", 0, [4], [3])


def test_equal_totals_with_other_boundaries_fail() -> None:
    shifted = answer(items=(ItemSeen(0, ((2, 3), (6, 7)), (1, 3)),))
    assert len(rows_fill_spans("on", [prompt()], [shifted]).evidence["wrong"]) == 2


def test_a_refusal_by_the_engine_tells_the_same() -> None:
    told = refused(mismatch=RowMismatch(0, ((2, 3), (6, 7)), 4, 2))
    verdict = rows_fill_spans("on", [prompt()], [told])
    assert verdict.status == "fail"
    assert "spans 2 to 3, 6 to 7 hold 4 placeholders, the encoder's rows for it are 2" in verdict.message
    assert verdict.evidence["wrong"][0]["refused"]


def test_rows_for_another_number_of_spans_fail() -> None:
    assert rows_fill_spans("on", [prompt()], [answer(items=(ItemSeen(0, ((2, 5),), (2, 2)),))]).status == "fail"


def test_a_picture_that_was_not_cut_as_planned_fails() -> None:
    verdict = rows_fill_spans("on", [prompt(spans=(2,))], [answer()])
    assert "1 spans, made for 2" in verdict.message
    assert verdict.status == "fail"


def sketched(*sums: float) -> Observation:
    return answer(items=(ItemSeen(0, ((2, 5),), (4,), sums),))


def test_a_neighbours_rows_of_the_right_number_are_seen() -> None:
    names, prompts = ("per_item", "cross_request"), [prompt()]
    noisy = ([sketched(100.0, -3.0)], [sketched(100.01, -3.01)])
    assert rows_unchanged(names, prompts, noisy).status == "pass"
    other = rows_unchanged(names, prompts, ([sketched(100.0, -3.0)], [sketched(100.0, 3.0)]))
    assert other.status == "fail"
    assert "p, image 1" in other.message
    assert rows_unchanged(names, prompts, ([sketched()], [sketched()])).status == "not_exercised"


def test_without_spans_nothing_was_exercised() -> None:
    assert rows_fill_spans("on", [prompt()], [refused()]).status == "not_exercised"


def test_rows_that_are_never_told_are_unsupported() -> None:
    untold = {"encoder_rows": "unsupported by x 1 (no)"}
    seen = answer(items=(ItemSeen(0, ((2, 5),)),), lacks=untold)
    for verdict in (
        rows_fill_spans("on", [prompt()], [seen]),
        rows_unchanged(("a", "b"), [prompt()], ([seen], [seen])),
    ):
        assert (verdict.status, verdict.message) == ("not_exercised", "unsupported by x 1 (no)")
