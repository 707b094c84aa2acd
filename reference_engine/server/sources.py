"""Where the bytes of a picture come from: base64 always; a URL or a file only where the operator allows it.

A file must lie inside the allowed folder once every link on the way is followed, and be a plain file. Whether something
else is there is not told.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from urllib.parse import unquote, urlsplit

from reference_engine.errors import ConfigError, RequestError
from reference_engine.multimodal.images import base64_bytes
from reference_engine.server.fetching import Fetcher
from reference_engine.server.limits import Limits

LONGEST_PATH = 1024
LONGEST_URL = 4096
_URL = re.compile(r"(?P<scheme>https?|ftp|s3|gs):", re.IGNORECASE)
_PATH = re.compile(r"(file:|~|\.{0,2}[/\\]|[a-z]:[/\\]|[\w. -]+([/\\][\w. -]+)*\.\w{2,5}$)", re.IGNORECASE)


class Sources:
    """Raises :class:`ConfigError` for a folder or network that is none."""

    def __init__(self, limits: Limits, fetcher: type[Fetcher] = Fetcher) -> None:
        self._most = limits.max_image_mb * 2**20
        hosts, networks = _listed(limits.media_hosts), _listed(limits.media_networks)
        self._fetcher = fetcher(hosts, networks, seconds=limits.fetch_seconds, most_bytes=self._most) if hosts else None
        self._root = Path(limits.media_root).resolve() if limits.media_root else None
        if self._root is not None and not self._root.is_dir():
            raise ConfigError(f"media_root: {limits.media_root} is not a folder")

    def read(self, source: str, field: str) -> bytes:
        """Raises :class:`RequestError` naming the field: 400 for what is not read, 413 for too many bytes."""
        url = _URL.match(source)
        if url is not None:
            return self._fetched(source, url["scheme"].lower(), field)
        if source[:5].lower() == "file:":
            return self._file(source, field)
        if len(source) * 3 // 4 > self._most + LONGEST_PATH:
            raise self._too_large(field)
        try:
            data = base64_bytes(source, field)
        except RequestError:
            if len(source) <= LONGEST_PATH and _PATH.match(source):
                return self._file(source, field)
            raise
        if len(data) > self._most:
            raise self._too_large(field)
        return data

    def _fetched(self, source: str, scheme: str, field: str) -> bytes:
        if self._fetcher is None or scheme not in ("http", "https"):
            raise RequestError(field, f"{scheme} URLs are not fetched; send a data URI or base64")
        if len(source) > LONGEST_URL:
            raise RequestError(field, f"a URL of {len(source)} characters; at most {LONGEST_URL}")
        return self._fetcher.fetch(source, field)

    def _file(self, source: str, field: str) -> bytes:
        if self._root is None:
            raise RequestError(field, "files are not opened for clients; send a data URI or base64")
        data = _read_inside(self._root, _path_of(source), self._most)
        if data is None:
            raise RequestError(field, "not a file in the folder that clients may name files of")
        if len(data) > self._most:
            raise self._too_large(field)
        return data

    def _too_large(self, field: str) -> RequestError:
        return RequestError(field, f"more than {self._most} bytes", status=413)


def _path_of(source: str) -> str:
    return unquote(urlsplit(source).path) if source[:5].lower() == "file:" else source


def _read_inside(root: Path, name: str, most: int) -> bytes | None:
    """At most one byte more than ``most`` of a plain file below ``root``; None if there is none. A relative name is
    taken from there."""
    try:
        real = os.path.realpath(root / name, strict=True)
        if not Path(real).is_relative_to(root):
            return None
        opened = os.open(real, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError):
        return None
    try:
        if not stat.S_ISREG(os.fstat(opened).st_mode):
            return None
        with open(opened, "rb", closefd=False) as file:
            return file.read(most + 1)
    finally:
        os.close(opened)


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]
