"""Every module can be imported by itself, and what starts often does not drag in what starts slowly."""

from __future__ import annotations

import importlib
import pkgutil
import re
import subprocess
import sys

import pytest

OPTIONAL = ("triton", "vllm")
"""What only a machine with a GPU, or with that engine, has."""
PACKAGES = ("reference_engine", "harness", "property_tests", "e2e")


def modules() -> list[str]:
    found = []
    for name in PACKAGES:
        package = importlib.import_module(name)
        found += [name, *(m.name for m in pkgutil.walk_packages(package.__path__, f"{name}."))]
    elsewhere = re.compile(r"\.(__main__|conftest)$|\.workers\.\w+_functions$")  # the last: other environments
    return [name for name in found if not elsewhere.search(name)]


@pytest.mark.parametrize("name", modules())
def test_module_imports_and_says_what_it_promises(name: str) -> None:
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as missing:
        if missing.name not in OPTIONAL:
            raise
        pytest.skip(f"{name} needs {missing.name}, which is not installed")
    assert module.__doc__, f"{name} has no docstring"


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("property_tests.plugin", ["torch", "transformers", "hypothesis", "numpy"]),
        ("harness.implementations", ["torch", "transformers"]),
        ("harness.implementations.base", ["torch", "transformers"]),
        ("reference_engine.config", ["torch", "transformers"]),
    ],
)
def test_light_modules_stay_light(module: str, heavy: list[str]) -> None:
    code = f"import sys, {module}; sys.exit(' '.join(set({heavy!r}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stderr.strip() == ""
