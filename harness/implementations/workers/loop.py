"""``python loop.py FUNCTIONS`` in an engine's own environment: answers one JSON line for each JSON line it reads.

FUNCTIONS is a file beside this one whose public functions are the engine's, translated to plain lists. Its ``VERSION``
and the names in its ``OFFERS`` and ``FAMILIES`` are the first line written. A call is ``{"call": name, "arguments":
[...]}``; the answer is ``{"value": ...}``, ``{"refused": message}`` where the engine said no in its own words, or
``{"unsupported": message}``. Whatever the engine prints goes to standard error, so that it never mixes with answers.

Needs nothing but the standard library, and imports nothing of Assay's: the two environments never meet.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import traceback
from types import ModuleType
from typing import Any


class Unsupported(Exception):
    """The engine's function has no way to be asked this."""


def answer(functions: ModuleType, line: str) -> dict[str, Any]:
    request = json.loads(line)
    try:
        return {"value": getattr(functions, request["call"])(*request["arguments"])}
    except Exception as error:
        kind = "unsupported" if type(error).__name__ == Unsupported.__name__ else "refused"
        traceback.print_exc(limit=-3)
        return {kind: f"{type(error).__name__}: {str(error)[:500]}"}


def main(name: str) -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    functions = importlib.import_module(name)
    families = getattr(functions, "FAMILIES", {})
    greeting = {"version": functions.VERSION, "offers": list(functions.OFFERS), "families": families}
    answers.write(json.dumps(greeting) + "\n")
    answers.flush()
    for line in sys.stdin:
        answers.write(json.dumps(answer(functions, line)) + "\n")
        answers.flush()


if __name__ == "__main__":
    main(sys.argv[1])
