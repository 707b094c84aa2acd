"""Errors on the wire: always ``{"error": {"message", "type", "param", "code"}}``, with the status that fits.

The message names the field as the caller spelled it; it never holds image bytes, and never more than a few hundred
characters of what was sent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from fastapi.responses import JSONResponse
from pydantic import BaseModel, ValidationError

from reference_engine.errors import RequestError

LONGEST_SHOWN_VALUE = 40
LONGEST_FIELD, LONGEST_MESSAGE = 200, 600
RETRIED = (429, 503)
"""429: this server takes on no more now, and would in a moment. 503: its engine is gone, or going; another may be there
after a restart. Both say ``Retry-After``, and OpenAI's clients try again."""
UNKNOWN = ("extra_forbidden", "unexpected_keyword_argument")
"""What pydantic calls a field that is not declared."""


class EngineStopped(RequestError):
    """The engine's thread is gone, or going; every waiting client gets this."""

    def __init__(self, why: str) -> None:
        super().__init__("engine", why, status=503)


class ClientGone(Exception):
    """The client hung up; there is nobody to answer."""


def error_body(error: RequestError) -> dict[str, Any]:
    return plain_error_body(error.status, str(error), error.field)


def plain_error_body(status: int, message: str, param: str | None = None) -> dict[str, Any]:
    kind = "engine_error" if status >= 500 else "rate_limit_error" if status == 429 else "invalid_request_error"
    field = None if param is None else _shortened(param, LONGEST_FIELD)
    return {"error": {"message": _shortened(message, LONGEST_MESSAGE), "type": kind, "param": field, "code": status}}


def _shortened(text: str, most: int) -> str:
    """Without its middle if it is long: callers choose field names and values."""
    return text if len(text) <= most else f"{text[: most // 2]} ... {text[-most // 2 :]}"


def error_response(status: int, body: Mapping[str, Any]) -> JSONResponse:
    return JSONResponse(body, status_code=status, headers={"Retry-After": "1"} if status in RETRIED else None)


def from_validation(model: type[BaseModel], invalid: ValidationError) -> RequestError:
    """The first thing wrong with a body, as ``messages[0].content[1].text: ...``."""
    first = invalid.errors(include_url=False, include_context=False)[0]
    field = field_name(first["loc"]) or "body"
    if first["type"] in UNKNOWN:
        known = f"; known: {', '.join(sorted(model.model_fields))}" if "." not in field and "[" not in field else ""
        return RequestError(field, f"unknown field{known}")
    return RequestError(field, first["msg"] + _shown(first["input"], field))


def field_name(location: Iterable[str | int]) -> str:
    """``("a", 0, "b")`` as ``a[0].b``. Union tags, which start with a colon, and pydantic's mark of a key are not the
    caller's and are left out."""
    parts = [part for part in location if not (isinstance(part, str) and part.startswith((":", "[key]")))]
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts).lstrip(".")


def _shown(value: Any, field: str) -> str:
    if field == "body" or isinstance(value, (dict, list, tuple)):
        return ""
    text = repr(value)
    return f", not {text}" if len(text) <= LONGEST_SHOWN_VALUE else f" (a long {type(value).__name__} was sent)"
