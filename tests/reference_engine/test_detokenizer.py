"""Incremental text equals decoding everything at once, whatever bytes come."""

from __future__ import annotations

import time
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from reference_engine.detokenizer import TextStream

pieces = st.lists(st.one_of(st.text(max_size=4).map(str.encode), st.binary(max_size=3)), max_size=20)


def stream(spellings: list[bytes], stops: tuple[str, ...] = ()) -> tuple[list[str], TextStream]:
    text = TextStream(spellings, stops)
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
    text = TextStream([b"a", b"b"], (stop,))
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
    spellings = [b"a", b"b", b"cd"]
    trimmed, kept = (TextStream(spellings, ["bc"], keep_stop=keep) for keep in (False, True))
    assert ["".join(stream.push(i) for i in (0, 1, 2)) for stream in (trimmed, kept)] == ["a", "abc"]
    late = TextStream(spellings, ["bc"])
    assert [late.push(1, may_stop=False), late.push(2, may_stop=False), late.push(1), late.push(2)] == [
        "b",
        "cd",
        "",
        "",
    ]
    assert late.matched == "bc"
    halves = TextStream(spellings, ["bc"])
    assert [halves.push(1, may_stop=False), halves.push(2)] == ["b", "cd"]
    assert halves.matched is None


def test_a_split_character_appears_whole() -> None:
    spellings = [bytes([b]) for b in "é🙂".encode()]
    parts, _ = stream(spellings)
    assert parts == ["", "é", "", "", "", "🙂", ""]


def test_an_unfinished_character_becomes_one_mark_at_the_end() -> None:
    parts, _ = stream([b"a", b"\xf0\x9f"])
    assert parts == ["a", "", "\ufffd"]


def test_ids_without_a_spelling_add_nothing() -> None:
    text = TextStream([b"a"], ())
    assert [text.push(0), text.push(5000), text.finish()] == ["a", "", ""]


def test_work_a_token_is_bounded_even_where_no_character_ever_completes() -> None:
    def seconds(count: int) -> float:
        text = TextStream([b"\xff"], ("stop",))
        started = time.process_time()
        for _ in range(count):
            text.push(0)
        return time.process_time() - started

    seconds(1000)
    assert min(seconds(20_000) for _ in range(3)) < 25 * min(seconds(2_000) for _ in range(3))


def test_spellings_of_the_real_tokenizer(bench: Any) -> None:
    codec = bench.engine().codec
    tokenizer = codec.tokenizer

    @given(st.text(max_size=40))
    def same(text: str) -> None:
        ids = tokenizer(text)["input_ids"]
        whole = "".join(stream([codec.token_bytes[i] for i in ids])[0])
        assert whole == tokenizer.decode(ids, skip_special_tokens=True)

    same()
    assert codec.token_bytes[tokenizer.convert_tokens_to_ids("<|im_end|>")] == b""
