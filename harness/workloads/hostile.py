"""Requests that should not be, made from one that should: a target's own call with one thing wrong in it.

They know no engine: every field of the body is put to values that no field takes, every list of ids gets ids that are
none, every picture becomes a file that is none, and the body itself breaks.
"""

from __future__ import annotations

import base64
import json
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from PIL import Image

from harness.observation import Picture, png_uri
from harness.targets.base import Call

DEEP = 500
VALUES: dict[str, Any] = {
    "null": None,
    "an empty text": "",
    "an empty list": [],
    "an empty object": {},
    "-1": -1,
    "2^31": 2**31,
    "2^63": 2**63,
    "1e308": 1e308,
    "NaN": float("nan"),
    "true": True,
    "a long text": "a" * 100_000,
    "a lone surrogate": "\ud800",
    "a list of lists": [[[1], [2, [3]]]],
}
IDS: dict[str, Any] = {"-1": -1, "2^31": 2**31, "2^63": 2**63, "1.5": 1.5, "a text": "5", "a list": [5], "null": None}
PICTURE = "data:image/"


@dataclass(frozen=True)
class Hostile:
    name: str
    path: str
    content: bytes


def hostile_requests(call: Call) -> list[Hostile]:
    """One for each thing that can be wrong, always the same ones for the same call."""
    bodies = [*_fields(call.body), *_ids(call.body), *_pictures(call.body)]
    made = [Hostile(name, call.path, _json(body)) for name, body in bodies]
    return [*made, *(Hostile(name, call.path, content) for name, content in _broken(call.body))]


def _fields(body: Mapping[str, Any], inside: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    for field, value in body.items():
        name = f"{inside}{field}"
        yield f"{name} left out", {key: one for key, one in body.items() if key != field}
        for words, wrong in VALUES.items():
            yield f"{name} is {words}", {**body, field: wrong}
        if isinstance(value, Mapping):
            for words, changed in _fields(value, f"{name}."):
                yield words, {**body, field: changed}


def _ids(body: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for field, value in body.items():
        if isinstance(value, list) and value and all(type(one) is int for one in value):
            for words, wrong in IDS.items():
                yield f"{field} ends in {words}", {**body, field: [*value, wrong]}


def _pictures(body: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    text = json.dumps(body)
    start = text.find(PICTURE)
    if start < 0:
        return
    uri = text[start : text.index('"', start)]
    for words, other in picture_uris(uri).items():
        yield f"a picture is {words}", json.loads(text.replace(uri, other))


def picture_uris(uri: str) -> dict[str, str]:
    """What stands in a picture's place, by name."""
    file = base64.b64decode(uri.partition(",")[2])
    files = {
        "cut short": file[: len(file) // 2],
        "empty": b"",
        "no image": b"not an image at all",
        "a bomb of 60000 x 60000": png_header(60_000, 60_000),
        "0 x 0": png_header(0, 0),
        "1 x 1": png(1, 1),
        "1 x 5000": png(1, 5000),
        "5000 x 1": png(5000, 1),
        "grey": png(30, 40, "L"),
        "grey with alpha": png(30, 40, "LA"),
        "16 bits deep": png(30, 40, "I;16"),
    }
    uris = {words: png_uri(data) for words, data in files.items()}
    others = {
        "no base64": "data:image/png;base64,@@@@",
        "a file of the server": "file:///etc/hostname",
        "at an address of the server": "http://127.0.0.1:9/picture.png",
        "no address": "pictures of cats",
    }
    return uris | others


def png(width: int, height: int, mode: str = "RGB") -> bytes:
    """A black picture."""
    return Picture.of(Image.new(mode, (width, height))).png


def png_header(width: int, height: int) -> bytes:
    """A picture that says how large it is and has no pixels."""
    opening = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)  # 8 bits of each of RGB
    chunks = [_chunk(b"IHDR", opening), _chunk(b"IDAT", zlib.compress(bytes(1000))), _chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _broken(body: Mapping[str, Any]) -> Iterator[tuple[str, bytes]]:
    whole = _json(body)
    yield "the body is cut short", whole[: len(whole) // 2]
    yield "the body is empty", b""
    yield "the body is a list", b"[]"
    yield "the body is no UTF-8", b'{"text": "\xff\xfe"}'
    yield "the body is no JSON", b"text=hello&n=2"
    yield "the body is deep", b'{"text": ' + b"[" * DEEP + b"]" * DEEP + b"}"
    yield "two bodies", whole + whole


def _json(body: Any) -> bytes:
    """NaN and lone surrogates are written as they are: servers must read them as they come."""
    return json.dumps(body).encode()
