"""TOML that people write. What is wrong with it is a :class:`UsageError` that names the file, the key and the value."""

from __future__ import annotations

import tomllib
from collections.abc import Collection
from pathlib import Path
from typing import Any

from harness.errors import UsageError


def read_toml(path: Path, known: Collection[str]) -> dict[str, Any]:
    """The file's values; ``known`` are the keys that it may have."""
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise UsageError(f"{path}: {error}") from error
    for name in values:
        if name not in known:
            raise UsageError(f"{path}: unknown key {name!r}; known: {', '.join(known)}")
    return values


def tables(path: Path, name: str, found: Any) -> list[dict[str, Any]]:
    """``found``, if it is what ``[[name]]`` gives."""
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise UsageError(f"{path}: {name} = {found!r}: tables are needed, each headed by [[{name}]]")
    return found
