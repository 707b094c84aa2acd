"""Token ids to text, one token at a time: never half a UTF-8 character, never text after a stop string, bounded work a
token.

What an id adds to the text is its *spelling*: text, or bytes that only become characters beside their neighbours'
(:class:`Spellings`; :mod:`reference_engine.spelling` makes them for every kind of tokenizer). :class:`SpelledText`
joins spellings as they come and gives what decoding the whole answer at once would give, for any ids: cut inside a
character, text ending in U+FFFD for ever (sglang#34740), special ids between two bytes of one character. Each id costs
its own spelling and nothing of what went before. :class:`TextStream` holds back text that may begin a stop string until
that is decided.

>>> stream = TextStream(SpelledText(Spellings([b"Hel", b"lo \\xc3", b"\\xa9!"])), stops=())
>>> [stream.push(i) for i in (0, 1, 2)], stream.finish()
(['Hel', 'lo ', 'é!'], '')
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

REPLACEMENT = "\ufffd"


class Detokenizer(Protocol):
    """The text of one answer, id by id. What :meth:`push` and :meth:`finish` return, joined, is the whole text."""

    def push(self, token: int) -> str:
        """The text that became certain with this id. Special ids, and ids past the tokenizer, add none."""

    def finish(self) -> str:
        """The rest: what was held back, and U+FFFD for a character that never became whole."""


@dataclass(frozen=True)
class Spellings:
    """What every id adds to the text, and how bytes side by side become text."""

    of: Sequence[str | bytes]
    special: frozenset[int] = frozenset()
    """Ids that are left out, as ``skip_special_tokens`` does."""
    whole_runs: bool = False
    """SentencePiece's byte fallback: a run of bytes is text only if all of it is UTF-8; if not, each byte is U+FFFD.
    Off, as in byte-level vocabularies: what is not UTF-8 is replaced, and the bytes around it stay.
    """
    spaces_dropped: int = 0
    """Leading spaces of the whole text that are taken off."""
    opening: Sequence[str | bytes] | None = None
    """What an id adds as the very first one, where that differs."""


class NoText:
    """For an engine without a tokenizer: ids only."""

    def push(self, token: int) -> str:
        return ""

    def finish(self) -> str:
        return ""


class SpelledText:
    """Joins spellings. Bytes of a character wait for the rest of it; nothing else waits."""

    def __init__(self, spellings: Spellings) -> None:
        self._spellings = spellings
        self._bytes: ReplacingBytes | WholeRun = WholeRun() if spellings.whole_runs else ReplacingBytes()
        self._to_drop = spellings.spaces_dropped
        self._table = spellings.opening or spellings.of

    def push(self, token: int) -> str:
        if token in self._spellings.special or not 0 <= token < len(self._table):
            return ""
        spelling = self._table[token]
        self._table = self._spellings.of
        if isinstance(spelling, bytes):
            return self._opened(self._bytes.push(spelling))
        return self._opened(self._bytes.end() + spelling)

    def finish(self) -> str:
        return self._opened(self._bytes.end())

    def _opened(self, text: str) -> str:
        """``text`` without the leading spaces that are still to be dropped."""
        if not self._to_drop or not text:
            return text
        dropped = min(len(text) - len(text.lstrip(" ")), self._to_drop)
        self._to_drop = self._to_drop - dropped if dropped == len(text) else 0
        return text[dropped:]


class Utf8(codecs.BufferedIncrementalDecoder):
    """UTF-8 piece by piece. Unlike Python's own, it never holds back half a surrogate (ED A0 to ED BF)."""

    def _buffer_decode(self, data: Any, errors: str, final: bool) -> tuple[str, int]:
        text, used = codecs.utf_8_decode(data, errors, final)
        if data[used : used + 1] == b"\xed" and data[used + 1 :] >= b"\xa0":
            return codecs.utf_8_decode(data, errors, True)
        return text, used


class ReplacingBytes:
    """UTF-8 in which every ill-formed part becomes one U+FFFD."""

    def __init__(self) -> None:
        self._decoder = Utf8("replace")

    def push(self, more: bytes) -> str:
        return self._decoder.decode(more)

    def end(self) -> str:
        return self._decoder.decode(b"", final=True)


class WholeRun:
    """A run of bytes that is text as a whole or not at all: held until it ends, or until one byte has spoilt it."""

    def __init__(self) -> None:
        self._start()

    def _start(self) -> None:
        self._decoder = Utf8("strict")
        self._text: list[str] = []
        self._length = 0
        self._spoilt = False

    def push(self, more: bytes) -> str:
        if self._spoilt:
            return REPLACEMENT * len(more)
        self._length += len(more)
        try:
            self._text.append(self._decoder.decode(more))
        except UnicodeDecodeError:
            self._spoilt = True
            return REPLACEMENT * self._length
        return ""

    def end(self) -> str:
        if not self._length or self._spoilt:
            held = ""
        elif self._decoder.getstate()[0]:
            held = REPLACEMENT * self._length
        else:
            held = "".join(self._text)
        if self._length:
            self._start()
        return held


class WindowedText:
    """Text through a decoder of whole sequences, each id decoded once: a window is decoded where a character ends.

    For a tokenizer that must be asked for text (``native_decode`` off). Only for spellings that are all bytes: their
    boundaries say where a window may end.
    """

    def __init__(self, spellings: Spellings, decode: Callable[[list[int]], str]) -> None:
        self._spellings, self._decode = spellings, decode
        self._boundaries = Utf8("replace")
        self._window: list[int] = []

    def push(self, token: int) -> str:
        self._window.append(token)
        if token not in self._spellings.special and 0 <= token < len(self._spellings.of):
            spelling = self._spellings.of[token]
            self._boundaries.decode(spelling if isinstance(spelling, bytes) else spelling.encode())
        return "" if self._boundaries.getstate()[0] else self._take()

    def finish(self) -> str:
        return self._take()

    def _take(self) -> str:
        window, self._window = self._window, []
        return self._decode(window) if window else ""


class TextStream:
    """The text of one answer up to its first stop string."""

    def __init__(self, text: Detokenizer, stops: Sequence[str], *, keep_stop: bool = False) -> None:
        self._text = text
        self._stops = tuple(stops)
        self._keep_stop = keep_stop
        self._longest = max(map(len, stops), default=0)
        self._held = ""
        self.matched: str | None = None
        """The stop string that was found; the text ends before it, or with it if ``keep_stop``."""

    def push(self, token: int, *, may_stop: bool = True) -> str:
        """The text that became certain with this token. What was pushed with ``may_stop`` false is no part of a stop
        string."""
        text = self._text.push(token)
        return self._release(text, last=False) if may_stop else text

    def finish(self) -> str:
        return "" if self.matched is not None else self._release(self._text.finish(), last=True)

    def _release(self, text: str, *, last: bool) -> str:
        self._held += text
        found = [(self._held.find(stop), i) for i, stop in enumerate(self._stops) if stop in self._held]
        if found:
            start, which = min(found)
            self.matched = self._stops[which]
            end = start + len(self.matched) if self._keep_stop else start
            released, self._held = self._held[:end], ""
            return released
        keep = 0 if last else self._undecided()
        released = self._held[: len(self._held) - keep]
        self._held = self._held[len(released) :]
        return released

    def _undecided(self) -> int:
        """Length of the longest end of the held text that begins a stop string."""
        for length in range(min(self._longest - 1, len(self._held)), 0, -1):
            if any(stop.startswith(self._held[-length:]) for stop in self._stops):
                return length
        return 0
