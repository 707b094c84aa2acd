from __future__ import annotations

import pytest

from harness.errors import UsageError
from harness.toggles import Spelling, parse_overrides, switch


def test_overrides_are_read() -> None:
    found = parse_overrides(["avoid_retokenize=off", "chunked_prefill=7"])
    assert found == {"avoid_retokenize": "off", "chunked_prefill": "7"}


@pytest.mark.parametrize(
    ("assignment", "told"),
    [
        ("avoid_retokenise=off", "known: avoid_retokenize, "),
        ("avoid_retokenize=maybe", "known: off, on"),
        ("chunked_prefill=-3", "a whole number"),
        ("chunked_prefill", "name=setting"),
    ],
)
def test_what_is_unknown_is_refused_with_what_is_known(assignment: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        parse_overrides([assignment])


def test_a_spelling_gives_flag_variable_and_the_targets_own_words() -> None:
    spelling = Spelling("--no-tokenizer", "SKIP", {"on": "1"})
    assert spelling.spell("on") == (["--no-tokenizer", "1"], {"SKIP": "1"})
    assert Spelling(env="SKIP").spell("off") == ([], {"SKIP": "off"})


def test_a_switch_is_whole_arguments_for_some_settings() -> None:
    assert switch(off=("--no-cache",)).spell("off") == (["--no-cache"], {})
    assert switch(off=("--no-cache",)).spell("on") == ([], {})
    assert Spelling("--chunk", arguments={"0": ("--no-chunks",)}).spell("0") == (["--no-chunks"], {})
    assert Spelling("--chunk", arguments={"0": ("--no-chunks",)}).spell("8") == (["--chunk", "8"], {})
