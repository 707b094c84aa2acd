"""Faults of turning ids into text."""

from __future__ import annotations

import codecs
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


class WholeHistory:
    """Decodes the whole answer for every id, and gives what was not given before."""

    def __init__(self, spellings: Spellings) -> None:
        self._spellings = spellings
        self._ids: list[int] = []
        self._given = 0

    def push(self, token: int) -> str:
        self._ids.append(token)
        text = SpelledText(self._spellings)
        return self._news("".join([text.push(one) for one in self._ids]))

    def finish(self) -> str:
        text = SpelledText(self._spellings)
        return self._news("".join([text.push(one) for one in self._ids]) + text.finish())

    def _news(self, whole: str) -> str:
        news, self._given = whole[self._given :], len(whole)
        return news


class Surrogates:
    """Bytes that are no character come through as they are, which no JSON can hold."""

    def __init__(self, spellings: Spellings) -> None:
        self._spellings = spellings
        self._bytes = codecs.getincrementaldecoder("utf-8")("surrogateescape")

    def push(self, token: int) -> str:
        if token in self._spellings.special or not 0 <= token < len(self._spellings.of):
            return ""
        spelling = self._spellings.of[token]
        return self._bytes.decode(spelling if isinstance(spelling, bytes) else spelling.encode())

    def finish(self) -> str:
        return self._bytes.decode(b"", final=True)


class Tidied:
    """Spaces before punctuation are taken out, as one of two decoders does."""

    def __init__(self, spellings: Spellings) -> None:
        self._text = SpelledText(spellings)
        self._space = ""

    def push(self, token: int) -> str:
        text = self._space + self._text.push(token)
        self._space = " " if text.endswith(" ") else ""
        return self._tidy(text[: len(text) - len(self._space)])

    def finish(self) -> str:
        return self._tidy(self._space + self._text.finish())

    def _tidy(self, text: str) -> str:
        for mark in ".,!?":
            text = text.replace(f" {mark}", mark)
        return text


FAULTS = (
    Fault(
        id="F6-01",
        reference="sglang#25309 (and sglang-jax#1295, vllm#20413)",
        summary="the whole answer is decoded for every token",
        invariant="18: cost per emitted token is bounded: no O(history) decode",
        replaces={"detokenizer": WholeHistory},
        acts_when="an answer is long",
    ),
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
        id="F6-09",
        reference="llama.cpp#14937",
        summary="bytes that are no character come through as they are",
        invariant="17: any input gives 2xx or 4xx and the server stays up",
        replaces={"detokenizer": Surrogates},
        acts_when="an answer is cut inside a character",
    ),
    Fault(
        id="F6-15",
        reference="transformers#42898",
        summary="one of two ways to decode takes out spaces before punctuation",
        invariant="7: concatenated stream == text of all ids",
        replaces={"detokenizer": Tidied},
        acts_when="an answer has a space before punctuation",
    ),
    Fault(
        id="F6-11",
        reference="vllm#46224; sglang#25309",
        summary="special ids are not filtered before native decode, so their text appears in answers",
        invariant="7: concatenated stream == text of all ids, special ones left out",
        replaces={"detokenizer": keep_special},
        acts_when="an answer holds a special id that does not end it",
        analogue=True,
    ),
)
