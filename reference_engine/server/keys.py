"""A key that every call must carry, as ``Authorization: Bearer KEY``, where the operator has set one.

It comes from the environment (``ASSAY_API_KEY``), never from the command line, which anybody on the machine can read.
``/health`` needs none: a load balancer has none. The comparison takes the same time wherever two keys differ.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from reference_engine.errors import ConfigError
from reference_engine.server.errors import error_response, plain_error_body

VARIABLE = "ASSAY_API_KEY"
WITHOUT_KEY = {"/health"}
_SCHEME = "bearer "


def api_key(environ: Mapping[str, str]) -> str | None:
    """The key to ask for; None where none is set. Raises :class:`ConfigError` for one that no header can hold."""
    key = environ.get(VARIABLE)
    if key is not None and not (key.isascii() and key.isprintable() and key == key.strip() and key):
        raise ConfigError(f"{VARIABLE} must be printable ASCII, without spaces around it")
    return key


class KeyRequired:
    """ASGI middleware. Whoever lacks the key is answered (401) before a byte of the body is read."""

    def __init__(self, app: ASGIApp, key: str) -> None:
        self._app = app
        self._key = key.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in WITHOUT_KEY or self._allows(Headers(scope=scope)):
            await self._app(scope, receive, send)
            return
        message = "authorization: send the server's key as Authorization: Bearer KEY"
        refusal = error_response(401, plain_error_body(401, message, "authorization"))
        refusal.headers["WWW-Authenticate"] = "Bearer"
        await refusal(scope, receive, send)

    def _allows(self, headers: Headers) -> bool:
        sent = headers.get("authorization", "")
        key = sent[len(_SCHEME) :].strip() if sent[: len(_SCHEME)].lower() == _SCHEME else ""
        return hmac.compare_digest(key.encode(), self._key)
