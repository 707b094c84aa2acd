"""A failing example: printed as a script that stands alone, kept for every later run, and tried first there.

Kept ones are entries of ``regressions.toml``; ``--keep-failures`` adds to it what this run found.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any

from hypothesis import example
from hypothesis.errors import HypothesisException

from harness.implementations import base
from harness.implementations.base import Implementation
from property_tests import pictures, strategies

KEPT = Path(__file__).with_name("regressions.toml")
SCRIPT = """\
from harness.implementations import get_implementation
from harness.implementations.base import *
from property_tests.pictures import *
from property_tests.strategies import *
from property_tests.{module} import {test}

judged = get_implementation({name!r}, {plant!r}, {python!r})
{test}.hypothesis.inner_test({arguments})
"""
_LAST: dict[Callable[..., Any], dict[str, Any]] = {}


@dataclass(frozen=True)
class Failing:
    """What one property was called with when it failed: capabilities by name, the rest as drawn."""

    file: str
    test: str
    given: dict[str, Any]
    drawn: dict[str, Any]

    def script(self, name: str, plant: str | None, python: str | None) -> str:
        """Python that calls the property once more, with nothing of pytest's."""
        capabilities = Implementation.capabilities()
        called = [
            f"{k}=judged.{k}" if k in capabilities else f"{k}={v!r}" for k, v in (self.given | self.drawn).items()
        ]
        return SCRIPT.format(
            module=self.file.removesuffix(".py"), test=self.test, name=name, plant=plant, python=python,
            arguments=", ".join(called),
        )  # fmt: skip

    def entry(self) -> str:
        """For ``regressions.toml``."""
        drawn = ", ".join(f"{name}={value!r}" for name, value in self.drawn.items())
        return f"\n[[example]]\ntest = \"{self.file}::{self.test}\"\narguments = '''{drawn}'''\n"


def watch(property_: Any) -> None:
    """Remember what ``property_`` was last called with when it failed: hypothesis calls it last with the smallest."""
    inner = property_.hypothesis.inner_test
    if hasattr(inner, "__wrapped__"):
        return

    @wraps(inner)
    def call(**arguments: Any) -> Any:
        try:
            return inner(**arguments)
        except HypothesisException:
            raise
        except Exception:
            _LAST[property_] = arguments
            raise

    property_.hypothesis.inner_test = call


def last_failing(file: str, property_: Any, given: Sequence[str]) -> Failing | None:
    """Taken once; ``given`` are the names that pytest filled in."""
    arguments = _LAST.pop(property_, None)
    if arguments is None:
        return None
    mine = {name: value for name, value in arguments.items() if name in given}
    return Failing(file, property_.__name__, mine, {n: v for n, v in arguments.items() if n not in given})


def kept(path: Path = KEPT) -> dict[str, list[dict[str, Any]]]:
    """Arguments by ``file::test``. The file is ours: what stands in it is Python, read with our own names."""
    names = vars(base) | vars(pictures) | vars(strategies)
    found: dict[str, list[dict[str, Any]]] = {}
    for entry in tomllib.loads(path.read_text(encoding="utf-8")).get("example", []):
        found.setdefault(entry["test"], []).append(eval(f"dict({entry['arguments']})", dict(names)))
    return found


def try_first(property_: Any, arguments: Sequence[dict[str, Any]]) -> None:
    """Make kept examples explicit ones."""
    for drawn in arguments:
        example(**drawn)(property_)
