"""Incremental text equals decoding everything at once, whatever bytes come."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference_engine.detokenizer import Detokenizer, SpelledText, Spellings, TextStream, WindowedText
from reference_engine.faults import plant

pieces = st.lists(st.one_of(st.text(max_size=4).map(str.encode), st.binary(max_size=3)), max_size=20)


def stream(spellings: list[bytes], stops: tuple[str, ...] = ()) -> tuple[list[str], TextStream]:
    text = TextStream(SpelledText(Spellings(spellings)), stops)
    parts = []
    for i in range(len(spellings)):
        parts.append(text.push(i))
        if text.matched is not None:
            break
    return [*parts, text.finish()], text


@given(pieces)
def test_joined_pieces_equal_the_whole(spellings: list[bytes]) -> None:
    parts, _ = stream(spellings)
    assert "".join(parts) == b"".join(spellings).decode("utf-8", errors="replace")


@given(pieces, st.lists(st.text(min_size=1, max_size=3), min_size=1, max_size=3))
def test_nothing_is_released_after_a_stop(spellings: list[bytes], stops: list[str]) -> None:
    parts, text = stream(spellings, tuple(stops))
    whole = b"".join(spellings).decode("utf-8", errors="replace")
    joined = "".join(parts)
    if text.matched is None:
        assert joined == whole
        assert not any(stop in whole for stop in stops)
    else:
        assert whole.startswith(joined + text.matched)
        assert not any(stop in joined for stop in stops)


@given(st.text(alphabet="ab", max_size=30), st.sampled_from(["aab", "abab", "bb"]))
def test_what_may_begin_a_stop_is_held_back(whole: str, stop: str) -> None:
    text = TextStream(SpelledText(Spellings([b"a", b"b"])), (stop,))
    released = ""
    for i, character in enumerate(whole):
        released += text.push("ab".index(character))
        if text.matched:
            break
        held = whole[len(released) : i + 1]
        assert stop.startswith(held)
        assert whole.startswith(released)
    assert (text.matched is not None) == (stop in whole)


def test_a_stop_may_stay_at_the_end_and_may_be_let_through() -> None:
    spellings = Spellings([b"a", b"b", b"cd"])
    trimmed, kept = (TextStream(SpelledText(spellings), ["bc"], keep_stop=keep) for keep in (False, True))
    assert ["".join(stream.push(i) for i in (0, 1, 2)) for stream in (trimmed, kept)] == ["a", "abc"]
    late = TextStream(SpelledText(spellings), ["bc"])
    assert [late.push(1, may_stop=False), late.push(2, may_stop=False), late.push(1), late.push(2)] == [
        "b",
        "cd",
        "",
        "",
    ]
    assert late.matched == "bc"
    halves = TextStream(SpelledText(spellings), ["bc"])
    assert [halves.push(1, may_stop=False), halves.push(2)] == ["b", "cd"]
    assert halves.matched is None


def test_a_split_character_appears_whole() -> None:
    spellings = [bytes([b]) for b in "é🙂".encode()]
    parts, _ = stream(spellings)
    assert parts == ["", "é", "", "", "", "🙂", ""]


def test_an_unfinished_character_becomes_one_mark_at_the_end() -> None:
    parts, _ = stream([b"a", b"\xf0\x9f"])
    assert parts == ["a", "", "\ufffd"]


@pytest.mark.parametrize("whole_runs", [False, True])
def test_half_a_surrogate_waits_for_nothing(whole_runs: bool) -> None:
    """ED A0 begins no character, though Python's own incremental decoder waits for a third byte."""
    text = SpelledText(Spellings([b"\xed", b"\xa0"], whole_runs=whole_runs))
    assert [text.push(0), text.push(1), text.finish()] == ["", "\ufffd" * 2, ""]


def test_ids_without_a_spelling_add_nothing() -> None:
    text = TextStream(SpelledText(Spellings([b"a"])), ())
    assert [text.push(0), text.push(5000), text.finish()] == ["a", "", ""]


def whole(text: Detokenizer, ids: Iterable[int]) -> str:
    return "".join([text.push(i) for i in ids]) + text.finish()


def test_one_wrong_byte_spoils_its_whole_run_and_no_other() -> None:
    """SentencePiece's byte fallback, as the tokenizers package does it."""
    spellings = Spellings(["a", *(bytes([b]) for b in range(256))], whole_runs=True)
    run = [1 + b for b in "é".encode()]
    assert whole(SpelledText(spellings), [*run, 0, *run, 1 + 0xFF, *run, 0, *run]) == "éa" + "\ufffd" * 5 + "aé"


def test_leading_spaces_are_dropped_once_even_from_several_ids() -> None:
    spellings = Spellings([" ", " a"], spaces_dropped=2)
    assert whole(SpelledText(spellings), [0, 1, 0, 1]) == "a  a"
    assert whole(SpelledText(spellings), [0, 0, 0, 0]) == "  "
    assert whole(SpelledText(Spellings(["a", " a"], spaces_dropped=1)), [0, 1]) == "a a"


@given(st.lists(st.integers(-1, 257), max_size=40))
def test_windows_decode_every_id_once_and_only_whole_characters(ids: list[int]) -> None:
    spellings = Spellings([bytes([b]) for b in range(256)], special=frozenset({65}))
    asked: list[int] = []

    def decode(window: list[int]) -> str:
        asked.extend(window)
        return b"".join(bytes([i]) for i in window if 0 <= i < 256 and i != 65).decode(errors="replace")

    assert whole(WindowedText(spellings, decode), ids) == whole(SpelledText(spellings), ids)
    assert asked == ids


@pytest.mark.parametrize("whole_runs", [False, True])
@pytest.mark.parametrize("spelling", [b"\xff", b"\xe4", b"a"])
def test_what_is_kept_and_done_for_a_token_does_not_grow(whole_runs: bool, spelling: bytes) -> None:
    """sglang#34740: text that ends in U+FFFD for ever. Nothing but a well-formed run of fallback bytes may wait."""
    text = SpelledText(Spellings([spelling], whole_runs=whole_runs))
    waits = 0
    for count in range(1, 2000):
        released = text.push(0)
        waits = waits + 1 if not released else 0
        assert len(released) <= 2
        assert waits <= 1 or (whole_runs and spelling == b"a"), count


@pytest.mark.parametrize(("fault", "ids"), [("F6-02", [65, 255] * 50), ("F6-08", [0xC3, 0xA9]), ("F6-11", [66, 65])])
def test_planted_faults_show(fault: str, ids: list[int]) -> None:
    spellings = Spellings([bytes([b]) for b in range(256)], special=frozenset({66}))
    wrong, right = plant(fault).detokenizer(spellings), SpelledText(spellings)
    assert [wrong.push(i) for i in ids] != [right.push(i) for i in ids]
