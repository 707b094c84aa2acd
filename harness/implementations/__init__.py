"""Code under test in process: adapters by name, each made on request so that none is imported unasked."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from harness.implementations.base import Implementation

_ADAPTERS = {
    "reference": "harness.implementations.reference",
    "transformers": "harness.implementations.transformers",
}


def implementation_names() -> list[str]:
    """The names that :func:`get_implementation` knows."""
    return sorted(_ADAPTERS)


def get_implementation(name: str, plant: str | None = None) -> Implementation:
    """The implementation of that name, with a fault planted if one is named.

    Raises :class:`LookupError` for an unknown name or fault, listing the known ones, and :class:`ImportError` where
    the engine is not installed.
    """
    if name not in _ADAPTERS:
        raise LookupError(f"unknown implementation {name!r}; known: {', '.join(implementation_names())}")
    make: Callable[[str | None], Implementation] = import_module(_ADAPTERS[name]).implementation
    return make(plant)
