"""Encoder rows by content: found again, shared while they are made, never more than the budget, never another's."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reference_engine.block_pool import BlockLeak
from reference_engine.encoder_cache import EncoderCache, Entry, first_ahead, image_window
from reference_engine.vision import EncodedItem

IMAGE = "<|vision_start|><|image_pad|><|vision_end|>"


class Item:
    """As much of a prepared item as the cache looks at."""

    def __init__(self, content: int, rows: int = 2, index: int = 0, start: int = 0) -> None:
        self.key, self.field, self.spans = bytes([content]), f"image_data[{index}]", [(start, start + rows - 1)]


def encoded(rows: int) -> EncodedItem:
    return EncodedItem(torch.rand(rows, 3), None, [rows], 1)


def pinned(cache: EncoderCache, *items: Item) -> list[Entry]:
    entries = [cache.pin(item, "a")[0] for item in items]
    for entry in entries:
        if entry.encoded is None:
            cache.fill(entry, encoded(entry.rows))
    return entries


ACTIONS = st.lists(st.tuples(st.sampled_from(["pin", "unpin", "fill", "flush"]), st.integers(0, 40)), max_size=60)


@given(ACTIONS, st.booleans())
def test_any_use_keeps_the_books_within_the_budget(actions: list[tuple[str, int]], keep: bool) -> None:
    cache, held = EncoderCache(6, keep=keep), []
    for action, number in actions:
        item = Item(number % 5, rows=1 + number % 3)
        if action == "pin" and cache.fits([item], str(number % 2)):
            held.append(cache.pin(item, str(number % 2))[0])
        elif action == "unpin" and held:
            cache.unpin([held.pop(number % len(held))])
        elif action == "fill" and held:
            cache.fill(held[number % len(held)], encoded(held[number % len(held)].rows))
        elif action == "flush":
            cache.flush()
            assert cache.kept_rows == 0
        cache.check(held)
    cache.unpin(held)
    cache.check([])
    assert keep or not cache.bytes


def test_rows_are_found_again_and_the_oldest_make_room() -> None:
    cache = EncoderCache(6, keep=True)
    for content in (1, 2, 3):
        cache.unpin(pinned(cache, Item(content)))
    assert cache.pin(Item(1), "b")[1] == "cached"
    assert cache.pin(Item(4), "b")[1] == "encoded"
    assert cache.evictions == 1
    assert cache.pin(Item(3), "b")[1] == "cached"
    assert not cache.fits([Item(2)], "b")
    assert cache.fits([Item(4), Item(1)], "c"), "what is pinned already takes no more room"


def test_who_comes_while_rows_are_made_shares_them() -> None:
    cache = EncoderCache(9, keep=True)
    (first, how), (second, then) = cache.pin(Item(1), "a"), cache.pin(Item(1, index=3), "b")
    assert (first is second, how, then) == (True, "encoded", "shared")
    assert (cache.hits, cache.misses, cache.pinned_rows) == (1, 1, 2)
    cache.unpin([first])
    cache.unpin([second])
    assert cache.kept_rows == 0, "rows that never came are not kept"
    with pytest.raises(BlockLeak, match="given back twice"):
        cache.unpin([second])


def test_equal_keys_with_other_rows_are_another_entry() -> None:
    """sglang#36595: a collision gave 256 rows to an item of 275."""
    cache = EncoderCache(9, keep=True)
    cache.unpin(pinned(cache, Item(1, rows=3)))
    entry, how = cache.pin(Item(1, rows=4), "b")
    assert (how, entry.rows) == ("encoded", 4)


def test_off_shares_only_between_the_choices_of_a_request() -> None:
    cache = EncoderCache(9, keep=False)
    entries = [cache.pin(Item(1), name) for name in ("a", "a", "b")]
    assert [how for _, how in entries] == ["encoded", "shared", "encoded"]
    cache.unpin([entry for entry, _ in entries])
    assert cache.pin(Item(1), "a")[1] == "encoded"


def test_kept_rows_are_copied_out_of_their_pass() -> None:
    cache, of_pass = EncoderCache(9, keep=True), torch.rand(100, 3)
    entry, _ = cache.pin(Item(1), "a")
    cache.fill(entry, EncodedItem(of_pass[:2], None, [2], 5))
    assert entry.encoded.rows_RD.untyped_storage().nbytes() == cache.bytes == 2 * 3 * 4


def test_what_of_a_prompt_is_still_to_be_laid() -> None:
    items = [Item(1, 4, start=2), Item(2, 4, start=8)]
    assert [first_ahead(items, computed) for computed in (0, 5, 6, 11, 12)] == [0, 0, 1, 1, 2]
    places = torch.tensor([2, 3, 4, 5, 8, 9, 10, 11])
    assert image_window(places, 0, 3, 9) == (slice(1, 5), slice(1, 5))
    assert image_window(places, 4, 6, 10) == (slice(4, 6), slice(0, 2))


def sources(answer: Any) -> list[str]:
    return [item.source for item in answer.evidence.items]


@pytest.fixture
def case(make_case: Any, picture: Any) -> Any:
    images = [picture((84, 56), 1), picture((56, 56), 2), picture((84, 56), 1)]
    return make_case(f"{IMAGE}read{IMAGE}{IMAGE}row", images, 5, True)


def test_equal_images_are_encoded_once(lively: Any, case: Any) -> None:
    engine = lively.engine(chunked_prefill=9)
    before = engine.counters()
    first, second = engine.generate([case.request(name, want_evidence=True) for name in "ab"])
    [third] = engine.generate([case.request("c", want_evidence=True)])
    after = engine.counters()
    assert sources(first) == ["encoded", "encoded", "shared"]
    assert sources(second) == ["shared"] * 3
    assert sources(third) == ["cached"] * 3
    assert third.evidence.toggles["encoder_cache"]["acted"]
    assert after["encoder_items_total"] - before["encoder_items_total"] == 2
    digests = [[item.rows_digest for item in answer.evidence.items] for answer in (first, second, third)]
    assert digests[0] == digests[1] == digests[2]
    expected = lively.oracle.generate(case).ids
    assert [a.output_ids for a in (first, second, third)] == [expected] * 3


def test_off_encodes_every_image_of_every_request(lively: Any, case: Any) -> None:
    engine = lively.engine(encoder_cache=False)
    before = engine.counters()["encoder_items_total"]
    answers = engine.generate([case.request(name, want_evidence=True) for name in "ab"])
    assert engine.counters()["encoder_items_total"] - before == 6
    assert [sources(answer) for answer in answers] == [["encoded"] * 3] * 2
    assert engine.counters()["encoder_rows_bytes"] == 0


def test_images_in_the_cached_prefix_are_not_encoded(lively: Any, case: Any) -> None:
    engine = lively.engine(encoder_cache=False, block_size=1)
    [cold] = engine.generate([case.request("a")])
    before = engine.counters()["encoder_items_total"]
    [warm] = engine.generate([case.request("b")])
    assert engine.counters()["encoder_items_total"] == before
    assert warm.output_ids == cold.output_ids == lively.oracle.generate(case).ids


def test_a_small_budget_makes_requests_wait_and_refuses_what_never_fits(lively: Any, case: Any, make_case: Any) -> None:
    engine = lively.engine(encoder_rows=16, check_every_step=True)
    other = make_case(f"{IMAGE}last", case.images[:1], 5, True)
    answers = engine.generate([each.request(str(i)) for i, each in enumerate([case, other, case, other])])
    expected = [lively.oracle.generate(each).ids for each in (case, other)]
    assert [a.output_ids for a in answers] == expected * 2
    assert engine.counters()["encoder_rows_pinned"] == 0
    [refused] = lively.engine(encoder_rows=15).generate([case.request("a")])
    assert (refused.error.status, refused.error.field) == (413, "image_data")
    assert "take 16 encoder rows; at most 15" in refused.error.message


def test_a_preempted_request_has_its_images_encoded_again(lively: Any, case: Any) -> None:
    engine = lively.engine(encoder_cache=False, prefix_cache=False, chunked_prefill=9)
    expected = lively.oracle.generate(case).ids
    engine.submit(case.request("a", want_evidence=True))
    for step in range(200):
        if step in (1, 4, 6):
            assert engine.preempt("a")
            engine.check_integrity()
        for output in engine.step():
            if output.answer is not None:
                assert output.answer.output_ids == expected
                assert output.answer.evidence.preemptions == 3
                return
    raise AssertionError("no answer")


def test_an_error_names_the_image_of_each_request_that_has_it(lively: Any, make_case: Any, picture: Any) -> None:
    engine = lively.engine(num_blocks=333)
    bad, good = picture((84, 56), 9), picture((56, 56), 9)
    cases = [make_case(IMAGE, [bad]), make_case(IMAGE * 2, [good, bad]), make_case(IMAGE, [good])]
    clean = engine.vision.encoder
    engine.vision.encoder = lambda items: [[rows[: 4 if len(rows) == 6 else None]] for [rows] in clean(items)]
    try:
        answers = engine.generate([each.request(str(i)) for i, each in enumerate(cases)])
    finally:
        engine.vision.encoder = clean
    assert [getattr(a.error, "field", None) for a in answers] == ["image_data[0]", "image_data[1]", None]
    assert engine.counters()["encoder_rows_pinned"] == 0
