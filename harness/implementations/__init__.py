"""Code under test: adapters by name, each made on request so that none is imported unasked.

Some run in this process: ours, and any of yours, named ``module:function``, that returns an
:class:`~harness.implementations.base.Implementation`. Engines whose requirements clash with ours run in an environment
of their own, named by its Python: the option ``--implementation-python``, or the variable ``ASSAY_PYTHON_<NAME>``.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib import import_module

from harness.implementations.base import Implementation

_ADAPTERS = {
    "reference": "harness.implementations.reference",
    "transformers": "harness.implementations.transformers",
}
REMOTE = ("sglang", "vllm")


def implementation_names() -> list[str]:
    """The names that :func:`get_implementation` knows."""
    return sorted([*_ADAPTERS, *REMOTE])


def get_implementation(name: str, plant: str | None = None, python: str | None = None) -> Implementation:
    """The implementation of that name or ``module:function``, with a fault planted if one is named, in ``python``'s
    environment if it is remote.

    Raises :class:`LookupError` for an unknown name or fault, listing the known ones, and :class:`ImportError` where
    the engine is not installed.
    """
    if name in REMOTE:
        return _remote(name, plant, python)
    if ":" in name:
        return _yours(name, plant)
    if name not in _ADAPTERS:
        raise LookupError(
            f"unknown implementation {name!r}; known: {', '.join(implementation_names())}, or module:function"
        )
    make: Callable[[str | None], Implementation] = import_module(_ADAPTERS[name]).implementation
    return make(plant)


def _yours(name: str, plant: str | None) -> Implementation:
    module, _, function = name.partition(":")
    try:
        made = getattr(import_module(module), function)()
    except (ImportError, AttributeError) as error:
        raise LookupError(f"implementation {name!r}: {error}") from error
    if not isinstance(made, Implementation):
        raise LookupError(f"implementation {name!r} returned a {type(made).__name__}, not an Implementation")
    if plant is not None:
        raise LookupError(f"fault {plant!r} cannot be planted in {name}; faults live in the reference engine")
    return made


def _remote(name: str, plant: str | None, python: str | None) -> Implementation:
    variable = f"ASSAY_PYTHON_{name.upper()}"
    python = python or os.environ.get(variable)
    if python is None:
        raise LookupError(
            f"{name} runs in its own environment: name its Python (--implementation-python or {variable})"
        )
    if plant is not None:
        raise LookupError(f"fault {plant!r} cannot be planted in {name}; faults live in the reference engine")
    return import_module("harness.implementations.remote").remote_implementation(name, python)
