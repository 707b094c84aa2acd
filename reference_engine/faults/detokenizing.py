"""Faults of turning ids into text."""

from __future__ import annotations

from dataclasses import replace

from reference_engine.detokenizer import REPLACEMENT, SpelledText, Spellings
from reference_engine.faults.catalogue import Fault


class WaitingForEver:
    """Holds all text back while it ends in U+FFFD, and starts over from the first id that it holds."""

    def __init__(self, spellings: Spellings) -> None:
        self._spellings = spellings
        self._held: list[int] = []

    def push(self, token: int) -> str:
        self._held.append(token)
        text = self._whole()
        if text.endswith(REPLACEMENT):
            return ""
        self._held = []
        return text

    def finish(self) -> str:
        return self._whole()

    def _whole(self) -> str:
        text = SpelledText(self._spellings)
        return "".join([text.push(token) for token in self._held]) + text.finish()


class OneByOne:
    """Decodes every id alone, so that no character of several ids ever becomes whole."""

    def __init__(self, spellings: Spellings) -> None:
        self._spellings = spellings

    def push(self, token: int) -> str:
        text = SpelledText(self._spellings)
        return text.push(token) + text.finish()

    def finish(self) -> str:
        return ""


def keep_special(spellings: Spellings) -> SpelledText:
    """Special ids are not filtered before decoding."""
    return SpelledText(replace(spellings, special=frozenset()))


FAULTS = (
    Fault(
        id="F6-02",
        reference="sglang#34740",
        summary="text is held back, and decoded again from where it was held, while it ends in U+FFFD",
        invariant="18: cost per emitted token is bounded: no O(history) decode",
        replaces={"detokenizer": WaitingForEver},
        acts_when="an answer holds bytes that are not UTF-8",
    ),
    Fault(
        id="F6-08",
        reference="vllm-mlx#109",
        summary="every id is decoded alone: characters of several ids become U+FFFD",
        invariant="7: concatenated stream == text of all ids",
        replaces={"detokenizer": OneByOne},
        acts_when="an answer holds a character of several ids",
    ),
    Fault(
        id="F6-11",
        reference="vllm#46224 (analogue: special ids filtered in one path only); sglang#25309",
        summary="special ids are not filtered before native decode, so their text appears in answers",
        invariant="7: concatenated stream == text of all ids, special ones left out",
        replaces={"detokenizer": keep_special},
        acts_when="an answer holds a special id that does not end it",
    ),
)
