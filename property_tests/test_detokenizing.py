"""Invariant 7: pieces of text, id by id, joined are the bytes of all ids decoded at once, and none waits for long."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from harness.implementations.base import DecodeBatch, StreamText

VOCABULARY = [bytes([byte]) for byte in range(256)] + ["é".encode(), "🙂".encode(), b" the", b"<|end|>", b"<|image|>"]
SPECIAL = [259, 260]
CUT = [0xC3, 0xE5, 0x9B, 0xBE, 0xF0, 0x9F, 0x99, 0x82, 0xFF, *SPECIAL]
"""Beginnings and ends of characters, and what stands between them."""
NARROW = [0xE0, 0x9F, 0xA0, 0xED, 0xF0, 0x8F, 0x90, 0xF4]
"""Bytes that not every continuation byte may follow, and what may and may not."""

ids = st.lists(st.integers(0, 260) | st.sampled_from(CUT) | st.sampled_from(NARROW), max_size=20)


def whole(sequence: list[int], skip_special: bool = True) -> str:
    return b"".join(VOCABULARY[i] for i in sequence if not (skip_special and i in SPECIAL)).decode(
        "utf-8", errors="replace"
    )


@example(sequence=[0xF0, 0x9F, 0x99, 0x82])
@example(sequence=[0xC3, 259, 0xA9, 260, 260])
@example(sequence=[0xF0, 0x9F])
@given(sequence=ids)
def test_pieces_joined_are_the_whole(stream_text: StreamText, sequence: list[int]) -> None:
    """vllm-mlx#109, sglang#25309: special ids are filtered, characters of several ids stay whole."""
    assert "".join(stream_text(VOCABULARY, SPECIAL, sequence)) == whole(sequence)


@example(sequence=[0x41, 0xFF] * 20)
@example(sequence=[0xFF] * 40)
@example(sequence=[0xED, 0xA0, 0xE0, 0x9F, 0xF0, 0x8F, 0xF4, 0x90])
@example(sequence=[0xED, 259, 0xBF])
@given(sequence=ids)
def test_no_text_waits_once_it_is_certain(stream_text: StreamText, sequence: list[int]) -> None:
    """sglang#34740: at most an unfinished character, three bytes of it, may wait, also where U+FFFD comes for ever."""
    pieces = stream_text(VOCABULARY, SPECIAL, sequence)
    assert len(pieces) == len(sequence) + 1
    for count in range(1, len(sequence) + 1):
        released = "".join(pieces[:count])
        assert whole(sequence[:count]).startswith(released)
        assert len(whole(sequence[:count])) - len(released) <= 1


@given(first=ids, second=ids)
def test_an_answer_knows_nothing_of_the_one_before(
    stream_text: StreamText, first: list[int], second: list[int]
) -> None:
    alone = stream_text(VOCABULARY, SPECIAL, second)
    stream_text(VOCABULARY, SPECIAL, first)
    assert stream_text(VOCABULARY, SPECIAL, second) == alone


@example(sequences=[[0xF0, 0x9F], [], [259, 0x41, 260]], skip_special=True)
@example(sequences=[[0xF0, 0x9F], [], [259, 0x41, 260]], skip_special=False)
@example(sequences=[[0x20, 0x41, 0x20, 0x2E], [259, 259, 0xC3, 260, 0xA9]], skip_special=False)
@given(sequences=st.lists(ids, max_size=5), skip_special=st.booleans())
def test_a_batch_is_each_alone(
    decode_batch: DecodeBatch, kind: str, sequences: list[list[int]], skip_special: bool
) -> None:
    """sglang#25309: with a slow tokenizer's own decoder too, special ids are left out or written as they are."""
    texts = decode_batch(kind, VOCABULARY, SPECIAL, sequences, skip_special)
    assert texts == [decode_batch(kind, VOCABULARY, SPECIAL, [one], skip_special)[0] for one in sequences]
    assert texts == [whole(one, skip_special) for one in sequences]
