from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.vocabulary import Vocabulary


def test_splits_spell_the_same_text_and_tokenize_back(vocabulary: Vocabulary) -> None:
    (describe,) = vocabulary.encode("Describe")
    splits = vocabulary.splits(describe)
    assert splits
    for pair in splits:
        assert vocabulary.decode(pair) == "Describe"
        assert vocabulary.retokenize(pair) == [describe]
        assert describe not in pair


def test_specials_and_single_bytes_have_no_split(vocabulary: Vocabulary) -> None:
    assert vocabulary.splits(vocabulary.placeholder) == []
    assert vocabulary.splits(vocabulary.encode("D")[0]) == []


def test_placeholders_survive_going_through_text(vocabulary: Vocabulary) -> None:
    ids = vocabulary.encode("<|vision_start|><|image_pad|><|vision_end|>read")
    assert ids.count(vocabulary.placeholder) == 1
    assert vocabulary.retokenize(ids) == ids


def test_token_text_shows_what_is_invisible(vocabulary: Vocabulary) -> None:
    assert vocabulary.token_text(vocabulary.encode(" every")[0]) == "·every"
    assert vocabulary.token_text(99_999) == "#99999"


def test_a_directory_without_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no tokenizer\.json"):
        Vocabulary(tmp_path)
