"""When encoder passes run: at once, or beside decoding on a stream of their own.

A request whose images are being encoded waits alone; everybody else's steps go on, and nobody's answer changes. On a
CPU a pass runs at once: it would take the cores that decoding needs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch

from reference_engine.vision import EncodedItem

Encoded = list[EncodedItem]
"""Rows of each item of a pass, or its error."""


class Pending(Protocol):
    """Passes that were started."""

    def ready(self) -> bool: ...

    def result(self) -> Encoded:
        """The rows, for use by what is queued from now on. Waits for them if it must."""


class EncoderStream(Protocol):
    def start(self, encode: Callable[[], Encoded]) -> Pending: ...


class AtOnce:
    """Start and end are one."""

    def start(self, encode: Callable[[], Encoded]) -> Pending:
        return Done(encode())


class Done:
    def __init__(self, encoded: Encoded) -> None:
        self._encoded = encoded

    def ready(self) -> bool:
        return True

    def result(self) -> Encoded:
        return self._encoded


class SideStream:
    """A CUDA (or HIP) stream beside the one that decodes."""

    def __init__(self) -> None:
        self._stream = torch.cuda.Stream()

    def start(self, encode: Callable[[], Encoded]) -> Pending:
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            encoded = encode()
            return Recorded(encoded, self._stream.record_event())


class Recorded:
    """Rows that are there once an event has passed."""

    def __init__(self, encoded: Encoded, event: torch.cuda.Event) -> None:
        self._encoded, self._event = encoded, event

    def ready(self) -> bool:
        return self._event.query()

    def result(self) -> Encoded:
        """The stream in use waits for the event, the host does not. The rows' memory is not reused while it does."""
        stream = torch.cuda.current_stream()
        stream.wait_event(self._event)
        for item in self._encoded:
            if item.rows_RD is not None:
                item.rows_RD.record_stream(stream)
        return self._encoded


def choose_encoder_stream(device: str, *, overlap: bool) -> EncoderStream:
    return SideStream() if overlap and device != "cpu" else AtOnce()
