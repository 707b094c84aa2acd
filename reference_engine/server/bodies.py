"""The bytes of a body, before anybody asks what they mean: their type, how many, how fast, nested how deep.

A parser pays for structure, not for bytes, so structure is counted first: by counting bytes, which costs next to
nothing, and exactly (brackets in strings left out) only where that count is not clear. A body that passes is JSON whose
objects name every key once; it may still be anything but what the endpoint takes.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from typing import Any

from starlette.requests import ClientDisconnect
from starlette.requests import Request as HttpRequest

from reference_engine.errors import RequestError
from reference_engine.server.errors import ClientGone
from reference_engine.server.limits import Limits

DRAINED_LIMITS = 4
"""A body that is too large is read, up to this many times the limit, before it is refused: the client sees why."""
SMALL_BODY = 2**20
_JSON_TYPE = re.compile(r"application/([\w.+-]+\+)?json\s*(;.*)?", re.IGNORECASE)
_UTF8 = re.compile(r"charset\s*=\s*\"?utf-?8\"?", re.IGNORECASE)
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_OPENINGS, _NAMES, _VALUES = (b"[", b"{"), (b":",), (b",",)
_DEEPER = {ord("["): 1, ord("{"): 1}


async def read_body(http: HttpRequest, limits: Limits, most: int | None = None) -> bytes:
    """The body. Raises :class:`RequestError`: 413 once all of a larger one has gone by unkept, 408 for one that takes
    too long, 415 for another type than JSON in UTF-8 (none named is taken for that). :class:`ClientGone` if it breaks
    off. ``most`` bytes are allowed, or as many as ``limits`` says.
    """
    _check_type(http)
    try:
        async with asyncio.timeout(limits.body_seconds):
            return await _collect(http, most or limits.max_body_mb * 2**20)
    except TimeoutError:
        raise RequestError("body", f"it took more than {limits.body_seconds} s to arrive", status=408) from None
    except ClientDisconnect:
        raise ClientGone from None


async def read_small_body(http: HttpRequest, limits: Limits) -> bytes:
    """One that is parsed on the event loop: no larger than that bears, its structure and keys judged already."""
    raw = await read_body(http, limits, SMALL_BODY)
    check_structure(raw, limits)
    check_keys(raw)
    return raw


async def _collect(http: HttpRequest, limit: int) -> bytes:
    kept = bytearray()
    size = 0
    async for chunk in http.stream():
        size += len(chunk)
        if size <= limit:
            kept += chunk
        elif size > limit * DRAINED_LIMITS:
            break
    if size > limit:
        raise RequestError("body", f"more than {limit} bytes", status=413)
    return bytes(kept)


def _check_type(http: HttpRequest) -> None:
    sent = http.headers.get("content-type")
    if sent is not None and not _JSON_TYPE.fullmatch(sent.strip()):
        raise RequestError("content-type", f"{sent!r} is not read here; send application/json", status=415)
    if sent is not None and "charset" in sent.lower() and not _UTF8.search(sent):
        raise RequestError("content-type", f"{sent!r}: JSON is read as UTF-8 alone", status=415)
    coding = http.headers.get("content-encoding", "identity")
    if coding.lower() != "identity":
        raise RequestError("content-encoding", f"{coding!r} is not undone here; send the body as it is", status=415)


def check_structure(raw: bytes, limits: Limits) -> None:
    """Raises :class:`RequestError`, 413 for too many values or containers and 400 for too deep ones. Whether it is JSON
    at all is left to the parser.
    """
    containers, names, values = (sum(raw.count(mark) for mark in marks) for marks in (_OPENINGS, _NAMES, _VALUES))
    if containers <= limits.max_depth and names <= limits.max_containers and values <= limits.max_values:
        return
    bare = _STRING.sub(b"", raw)
    if bare.count(b",") > limits.max_values:
        raise RequestError("body", f"more than {limits.max_values} values", status=413)
    brackets = bare.translate(None, _NOT_BRACKETS)
    containers = sum(brackets.count(mark) for mark in _OPENINGS)
    if max(containers, bare.count(b":")) > limits.max_containers:
        raise RequestError("body", f"more than {limits.max_containers} lists, objects or names in them", status=413)
    _check_depth(brackets, limits.max_depth)


def _check_depth(brackets: bytes, most: int) -> None:
    depth = 0
    for bracket in brackets:
        depth += _DEEPER.get(bracket, -1)
        if depth > most:
            raise RequestError("body", f"lists and objects are nested more than {most} deep")


def check_keys(raw: bytes) -> None:
    """Raises :class:`RequestError` for a key that an object has twice: one of the two would be dropped in silence.
    ``raw`` has passed :func:`check_structure`.
    """
    try:
        json.loads(raw, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        if isinstance(error, RequestError):
            raise
        raise RequestError("body", f"not JSON: {error}") from None


def _once(pairs: list[tuple[str, Any]]) -> None:
    names = [name for name, _ in pairs]
    if len(set(names)) < len(names):
        twice = next(name for name, count in Counter(names).items() if count > 1)
        raise RequestError(twice, "was given twice; send it once")
