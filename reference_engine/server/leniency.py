"""Fields that an endpoint does not know: refused by name, unless the call's header ``x-unknown-fields: ignore`` asks to
drop them. The answer's header ``x-ignored-fields`` says which were dropped. Everything else stays as strict as it is.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, TypeVar
from urllib.parse import quote

from pydantic import ValidationError
from starlette.requests import Request as HttpRequest

from reference_engine.errors import RequestError
from reference_engine.server.errors import UNKNOWN
from reference_engine.server.field_types import Body

ASKS, TELLS = "x-unknown-fields", "x-ignored-fields"
MOST_ROUNDS = 64
"""Validations of one body. A list tells of its first wrong entry only, so each may take one."""
MOST_TOLD = 32

T = TypeVar("T")


def is_lenient(http: HttpRequest) -> bool:
    """Raises :class:`RequestError` where the header asks for something else."""
    asked = http.headers.get(ASKS)
    if asked not in (None, "ignore", "refuse"):
        raise RequestError(ASKS, f"{asked[:40]!r} is neither ignore nor refuse")
    return asked == "ignore"


def leniently(read: Callable[[bytes], T], body: type[Body], ignored: list[str]) -> Callable[[bytes], T]:
    """``read``, given only what ``body`` knows; the names of what was dropped are added to ``ignored``."""

    def read_known(raw: bytes) -> T:
        known, dropped = without_unknown(body, raw)
        ignored.extend(dropped)
        return read(known)

    return read_known


def without_unknown(body: type[Body], raw: bytes) -> tuple[bytes, list[str]]:
    """The JSON without fields that ``body`` does not know, and their names. What is wrong in another way stays."""
    dropped: list[str] = []
    for _ in range(MOST_ROUNDS):
        unknown = _unknown(body, raw)
        if not unknown:
            break
        sent = json.loads(raw)
        dropped += [_drop(sent, location) for location in unknown]
        raw = json.dumps(sent).encode()
    return raw, dropped


def _unknown(body: type[Body], raw: bytes) -> list[tuple[str | int, ...]]:
    try:
        body.model_validate_json(raw)
    except ValidationError as invalid:
        return [error["loc"] for error in invalid.errors(include_url=False) if error["type"] in UNKNOWN]
    return []


def _drop(value: Any, location: Sequence[str | int]) -> str:
    """Delete what ``location`` leads to, and say its name. Parts of it that lead nowhere are the validator's marks."""
    *way, last = location
    name = ""
    for part in way:
        if isinstance(value, dict) and part in value:
            value, name = value[part], f"{name}.{part}"
        elif isinstance(value, list) and isinstance(part, int):
            value, name = value[part], f"{name}[{part}]"
    del value[last]
    return f"{name}.{last}".lstrip(".")


def told(ignored: Sequence[str]) -> str:
    """The names as a header can hold them."""
    more = f", and {len(ignored) - MOST_TOLD} more" if len(ignored) > MOST_TOLD else ""
    return ", ".join(quote(name[:100], safe="[].-_") for name in ignored[:MOST_TOLD]) + more
