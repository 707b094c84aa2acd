"""Incremental text equals decoding everything at once, for every kind of tokenizer and any ids."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import decoders

from reference_engine import ConfigError
from reference_engine.detokenizer import Detokenizer, SpelledText
from reference_engine.faults import plant
from reference_engine.spelling import spell
from tests.reference_engine.tokenizers_made import FAST, SPECIAL, sentence_pieces


def whole(text: Detokenizer, ids: list[int]) -> str:
    return "".join([text.push(i) for i in ids]) + text.finish()


@pytest.mark.parametrize("kind", FAST)
def test_joined_pieces_equal_the_whole(kind: str) -> None:
    tokenizer = FAST[kind]()
    spellings = spell(tokenizer)
    assert whole(SpelledText(spellings), tokenizer.convert_tokens_to_ids(SPECIAL)) == ""
    nearby = st.sampled_from([*range(120, 256), *range(256, len(tokenizer) + 3)])

    @settings(deadline=None, max_examples=150)
    @example([258, 259, 257])  # leading spaces
    @example([1 + 0xE5, 1 + 0x9B, len(tokenizer) - 1, 1 + 0xBE, 257])  # a special id inside a character
    @given(st.lists(nearby, max_size=24))
    def same(ids: list[int]) -> None:
        expected = tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        assert whole(SpelledText(spellings), ids) == expected

    same()


@pytest.mark.parametrize("fault", ["F6-08", "F6-11"])
@pytest.mark.parametrize("kind", ["byte-level", "llama"])
def test_planted_faults_break_the_equality(kind: str, fault: str) -> None:
    tokenizer = FAST[kind]()
    ids = [*tokenizer("ß🦜", add_special_tokens=False)["input_ids"], *tokenizer.convert_tokens_to_ids(SPECIAL)]
    assert whole(SpelledText(spell(tokenizer)), ids) == tokenizer.decode(ids, skip_special_tokens=True)
    assert whole(plant(fault).detokenizer(spell(tokenizer)), ids) != tokenizer.decode(ids, skip_special_tokens=True)


def test_the_sentinels_tokenizer(bench: Any) -> None:
    codec = bench.engine().codec

    @settings(deadline=None)
    @given(st.text(max_size=40))
    def same(text: str) -> None:
        ids = codec.encode(text)
        assert whole(codec.detokenizer(), ids) == codec.text(ids) == text

    same()


@pytest.mark.parametrize(
    "decoder", [decoders.WordPiece(), decoders.Strip(" ", 1, 0), decoders.Replace("ab", "c"), decoders.CTC()]
)
def test_what_cannot_be_joined_piece_by_piece_is_refused(decoder: Any) -> None:
    with pytest.raises(ConfigError, match="decoder has a step that is not known"):
        spell(sentence_pieces(decoder))


def test_no_decoder_is_refused() -> None:
    with pytest.raises(ConfigError, match="has no decoder"):
        spell(sentence_pieces(None))
