"""Token ids to text, one token at a time: never half a UTF-8 character, never text after a stop string, bounded work a
token.

A byte-level tokenizer maps every id to bytes, so an incremental UTF-8 decoder does what decoding the whole output
again would, at the cost of the new token alone. Text that may be the beginning of a stop string is held back until it
is decided.

>>> stream = TextStream([b"Hel", b"lo \\xc3", b"\\xa9!"], stops=())
>>> [stream.push(i) for i in (0, 1, 2)], stream.finish()
(['Hel', 'lo ', 'é!'], '')
"""

from __future__ import annotations

import codecs
from collections.abc import Sequence


class TextStream:
    """The text of one answer. What :meth:`push` and :meth:`finish` return, joined, is the whole text."""

    def __init__(self, token_bytes: Sequence[bytes], stops: Sequence[str], *, keep_stop: bool = False) -> None:
        self._token_bytes = token_bytes
        self._stops = tuple(stops)
        self._keep_stop = keep_stop
        self._longest = max(map(len, stops), default=0)
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._held = ""
        self.matched: str | None = None
        """The stop string that was found; the text ends before it, or with it if ``keep_stop``."""

    def push(self, token: int, *, may_stop: bool = True) -> str:
        """The text that became certain with this token. Special ids, and ids past the tokenizer, add none. What was
        pushed with ``may_stop`` false is no part of a stop string."""
        spelling = self._token_bytes[token] if token < len(self._token_bytes) else b""
        text = self._decoder.decode(spelling)
        return self._release(text, last=False) if may_stop else text

    def finish(self) -> str:
        """The rest: what was held back, and U+FFFD for a character that never became whole."""
        return "" if self.matched is not None else self._release(self._decoder.decode(b"", final=True), last=True)

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
