from __future__ import annotations

import pytest
from observations import JOINER, PAD, answer, prompt, refused

from harness.checks.identity import Placeholders, SpanError, collapse, first_divergence, ids_as_sent
from harness.observation import ItemSeen

PLACEHOLDERS = Placeholders(PAD, JOINER)


def test_collapse_undoes_a_picture_of_several_spans() -> None:
    ids = [1, PAD, PAD, *JOINER, PAD, 5, PAD]
    items = [ItemSeen(0, ((1, 2), (5, 5)), (2, 1)), ItemSeen(1, ((7, 7),), (1,))]
    assert collapse(ids, items, PLACEHOLDERS) == [1, PAD, 5, PAD]


def test_collapse_takes_out_the_tags_that_a_model_writes() -> None:
    written = [[50, PAD, PAD, 51, PAD, 52], [50, PAD, 52]]
    items = [ItemSeen(0, ((2, 3), (5, 5)), (2, 1)), ItemSeen(1, ((8, 8),), (1,))]
    ids = [1, *written[0], *written[1], 2]
    assert collapse(ids, items, Placeholders(PAD), written) == [1, PAD, PAD, 2]
    ids[4] = 53
    with pytest.raises(SpanError):
        collapse(ids, items, Placeholders(PAD), written)


@pytest.mark.parametrize(
    ("ids", "spans"),
    [
        ([1, PAD, 2], ((1, 2),)),
        ([1, PAD, 2], ((1, 3),)),
        ([1, PAD, 7, 7, PAD], ((1, 1), (4, 4))),
        ([1, 2], ()),
    ],
)
def test_spans_that_do_not_fit_are_refused(ids: list[int], spans: tuple[tuple[int, int], ...]) -> None:
    with pytest.raises(SpanError):
        collapse(ids, [ItemSeen(0, spans, (1,))], PLACEHOLDERS)


def test_items_may_not_overlap() -> None:
    items = [ItemSeen(0, ((0, 1),), (2,)), ItemSeen(1, ((1, 2),), (2,))]
    with pytest.raises(SpanError):
        collapse([PAD, PAD, PAD], items, PLACEHOLDERS)


def test_first_divergence_counts_length_too() -> None:
    assert first_divergence([1, 2], [1, 2]) is None
    assert first_divergence([1, 2, 3], [1, 2]) == 2
    assert first_divergence([1, 2, 3], [1, 9, 3]) == 1


def test_equal_ids_pass() -> None:
    assert ids_as_sent("on", [prompt()], [answer()], PLACEHOLDERS).status == "pass"


def test_the_first_other_id_is_shown_in_words() -> None:
    ran = answer(prompt_ids=(1, 97, PAD, PAD, PAD, PAD, 98, 4, 3))
    verdict = ids_as_sent("on", [prompt()], [ran], PLACEHOLDERS, lambda token: f"t{token}")
    assert verdict.status == "fail"
    assert "p, position 4: sent 2[t2] 3[t3], ran 4[t4] 3[t3]" in verdict.message


def test_a_missing_end_and_a_missing_picture_fail() -> None:
    short = answer(prompt_ids=(1, 97, PAD, PAD, PAD, PAD, 98, 2))
    assert "ran (end)" in ids_as_sent("on", [prompt()], [short], PLACEHOLDERS).message
    without = answer(items=())
    assert ids_as_sent("on", [prompt()], [without], PLACEHOLDERS).status == "fail"


def test_spans_that_are_never_told_are_the_runs_of_placeholders() -> None:
    untold = {"spans": "unsupported by x 1 (no)"}
    assert ids_as_sent("on", [prompt()], [answer(items=(), lacks=untold)], PLACEHOLDERS).status == "pass"
    dropped = answer(items=(), lacks=untold, prompt_ids=(1, 97, 98, 2, 3))
    assert "1 pictures sent, spans seen for 0" in ids_as_sent("on", [prompt()], [dropped], PLACEHOLDERS).message
    twice = answer(items=(), lacks=untold, prompt_ids=(1, 97, PAD, 98, PAD, 2, 3))
    assert ids_as_sent("on", [prompt()], [twice], PLACEHOLDERS).status == "fail"


def test_ids_that_are_never_told_are_unsupported() -> None:
    untold = {"prompt_ids": "unsupported by x 1 (no)"}
    verdict = ids_as_sent("on", [prompt()], [answer(prompt_ids=None, lacks=untold)], PLACEHOLDERS)
    assert (verdict.status, verdict.message) == ("not_exercised", "unsupported by x 1 (no)")


def test_no_evidence_is_not_a_pass() -> None:
    assert ids_as_sent("on", [prompt()], [refused()], PLACEHOLDERS).status == "not_exercised"
