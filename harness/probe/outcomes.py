"""How a check of the probe ends when it does not pass. Each carries the sentence that the card shows."""

from __future__ import annotations

from typing import Any


class NotPassed(Exception):
    def __init__(self, message: str, **evidence: Any) -> None:
        super().__init__(message)
        self.evidence = evidence


class Wrong(NotPassed):
    """The server breaks what it should hold."""


class Lacking(NotPassed):
    """The server does not have what the check needs: not exercised."""


class Unsure(NotPassed):
    """What was seen allows both readings."""
