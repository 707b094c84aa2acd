"""Which version of an engine an environment has, asked before anything is started."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

ASK = """
import sys
from importlib.metadata import PackageNotFoundError, version
for name in sys.argv[1:]:
    try:
        print(version(name))
        break
    except PackageNotFoundError:
        pass
"""
SECONDS = 60


def installed_version(python: str, distributions: Sequence[str]) -> str | None:
    """Of the first of ``distributions`` that the environment of ``python`` has, as a release (``0.32.0`` of
    ``0.32.0+cpu``); None if it has none, or no Python.
    """
    if not distributions:
        return None
    try:
        done = subprocess.run([python, "-c", ASK, *distributions], capture_output=True, text=True, timeout=SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip().partition("+")[0] or None
