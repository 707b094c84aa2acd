"""Files of one JSON value a line. Their lines end at CR and LF alone: ``str.splitlines`` ends them at U+0085, U+2028
and U+2029, too, which JSON may hold as they are.
"""

from __future__ import annotations

from pathlib import Path


def read_lines(path: Path) -> list[bytes]:
    """As :func:`json.loads` takes them, which says of each whether it is UTF-8."""
    return path.read_bytes().splitlines()
