"""Server-sent events as engines send them: one ``data:`` line an event. Lines end at CR and LF alone, wherever pieces
do; httpx ends them at U+0085, U+2028 and U+2029, too, which JSON may hold as they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

END = b"[DONE]"


def data_of(line: bytes) -> bytes | None:
    """What an event's line carries; None of any other line, and of the one that says that the stream ends."""
    data = line[5:].strip() if line.startswith(b"data:") else END
    return None if data == END else data


class EventStream:
    """One stream, piece by piece. Each piece gives the data of the events that it completes."""

    def __init__(self) -> None:
        self._begun = bytearray()
        """Of a line that is not whole yet."""

    def take(self, piece: bytes) -> list[bytes]:
        lines = []
        for part in piece.splitlines(keepends=True):
            self._begun += part
            if part.endswith((b"\r", b"\n")):
                lines.append(bytes(self._begun))
                self._begun.clear()
        return [data for line in lines if (data := data_of(line)) is not None]

    def end(self) -> list[bytes]:
        """Of a last line that nothing ended."""
        return self.take(b"\n")


def data_in(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The data of each event of a whole stream, as soon as it is there."""
    stream = EventStream()
    for piece in pieces:
        yield from stream.take(piece)
    yield from stream.end()
