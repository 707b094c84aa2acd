"""Print ci/matrix.toml as the JSON that a workflow's ``strategy.matrix`` takes: ``python ci/matrix.py``."""

from __future__ import annotations

import json
import sys
import tomllib
from pathlib import Path
from typing import Any

MATRIX = Path(__file__).with_name("matrix.toml")
REQUIRED = {"name", "vendor", "runner", "torch", "commands", "verified"}


def entries(path: Path = MATRIX) -> list[dict[str, Any]]:
    """The entries of the matrix. Raises ``ValueError`` naming the entry and the key that is missing or unknown."""
    found: list[dict[str, Any]] = tomllib.loads(path.read_text(encoding="utf-8"))["entry"]
    for number, entry in enumerate(found):
        if wrong := REQUIRED ^ set(entry):
            raise ValueError(f"{path.name}: entry {number} ({entry.get('name', 'no name')}): check {sorted(wrong)}")
    return found


def as_json(path: Path = MATRIX) -> str:
    """One line of JSON: ``{"include": [...]}``, each entry's commands joined for one shell step."""
    return json.dumps({"include": [entry | {"commands": _one_step(entry["commands"])} for entry in entries(path)]})


def _one_step(commands: list[str]) -> str:
    """Shell that runs all of them, whichever fails, and fails at the end with the names of those that did."""
    lines = [f'ci/setup.sh {command} || failed="$failed {command.split()[0]}"' for command in commands]
    return "\n".join(["failed=", *lines, '[ -z "$failed" ] || { echo "FAILED:$failed"; exit 1; }'])


if __name__ == "__main__":
    sys.stdout.write(as_json() + "\n")
