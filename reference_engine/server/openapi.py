"""How bodies and errors appear in the server's own description, ``/openapi.json``. Bodies are there by reference, each
declared once; every route may answer with an error, and those that stream with events.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI
from pydantic.json_schema import models_json_schema

from reference_engine.server.field_types import Body

_REFERENCE = "#/components/schemas/{model}"
_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"enum": ["invalid_request_error", "rate_limit_error", "engine_error"]},
                "param": {"type": ["string", "null"], "description": "The field, as the caller spelled it."},
                "code": {"type": "integer", "description": "The status."},
            },
        }
    },
}
ERRORS: dict[int | str, dict[str, Any]] = {
    statuses: {"description": description, "content": {"application/json": {"schema": _ERROR}}}
    for statuses, description in (
        ("4XX", "What was sent is refused; 429: for now."),
        ("5XX", "The engine failed, or is gone."),
    )
}
EVENTS: dict[int | str, dict[str, Any]] = {200: {"content": {"text/event-stream": {}}}}


def body_of(model: type[Body]) -> dict[str, Any]:
    """A route's ``openapi_extra``: this body, as JSON."""
    schema = {"$ref": _REFERENCE.format(model=model.__name__)}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def describe_bodies(app: FastAPI, bodies: Sequence[type[Body]]) -> None:
    """Put the bodies that routes refer to into the description. FastAPI reads none of them by itself."""
    _, schemas = models_json_schema([(body, "validation") for body in bodies], ref_template=_REFERENCE)
    bodies_described = _any_of(schemas["$defs"])
    make = app.openapi
    app.openapi = lambda: make() | {"components": {"schemas": bodies_described}}  # type: ignore[method-assign]


def _any_of(schema: Any) -> Any:
    """``oneOf`` becomes ``anyOf``: an empty list is a list of ids as well as a list of lists."""
    if isinstance(schema, dict):
        return {"anyOf" if name == "oneOf" else name: _any_of(value) for name, value in schema.items()}
    return [_any_of(value) for value in schema] if isinstance(schema, list) else schema
