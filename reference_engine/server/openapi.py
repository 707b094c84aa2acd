"""How bodies appear in the server's own description, ``/openapi.json``: by reference, each declared once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI
from pydantic.json_schema import models_json_schema

from reference_engine.server.protocol import Body

_REFERENCE = "#/components/schemas/{model}"


def body_of(model: type[Body]) -> dict[str, Any]:
    """A route's ``openapi_extra``: this body, as JSON."""
    schema = {"$ref": _REFERENCE.format(model=model.__name__)}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def describe_bodies(app: FastAPI, bodies: Sequence[type[Body]]) -> None:
    """Put the bodies that routes refer to into the description. FastAPI reads none of them by itself."""
    _, schemas = models_json_schema([(body, "validation") for body in bodies], ref_template=_REFERENCE)
    make = app.openapi
    app.openapi = lambda: make() | {"components": {"schemas": schemas["$defs"]}}  # type: ignore[method-assign]
