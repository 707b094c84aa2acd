"""Real regressions, planted in the reference engine on request, to prove that a check sees them.

>>> seams = plant("F1-01")      # raises ConfigError for an unknown id, listing the known ones
>>> plant(None) is CLEAN
True
"""

from __future__ import annotations

from dataclasses import fields, replace
from importlib import import_module

from reference_engine.errors import ConfigError
from reference_engine.faults import (
    answers,
    detokenizing,
    encoder_cache,
    encoding,
    fetching,
    pictures,
    placeholders,
    positions,
    prefix_cache,
    reuse,
    sampling,
    scheduling,
    serving,
    sizes,
    stepping,
    validating,
    vision,
)
from reference_engine.faults.catalogue import Fault, Reports, read_reports
from reference_engine.faults.seams import CLEAN, Seams

FAULTS: dict[str, Fault] = {
    fault.id: fault
    for module in (
        sizes,
        pictures,
        placeholders,
        validating,
        reuse,
        positions,
        encoding,
        vision,
        encoder_cache,
        prefix_cache,
        scheduling,
        stepping,
        sampling,
        detokenizing,
        answers,
        serving,
        fetching,
    )
    for fault in module.FAULTS
}

__all__ = ["CLEAN", "FAULTS", "Fault", "Reports", "Seams", "find_fault", "plant", "read_reports"]


def find_fault(fault_id: str) -> Fault:
    """Of the catalogue, or ``module:name``: a :class:`Fault`, or a function that changes an engine once it is built.

    Raises :class:`ConfigError` for what is neither. The first line of such a function's docstring is
    ``NUMBER: what it does``, with the number of the invariant that it breaks.
    """
    if fault_id in FAULTS:
        return FAULTS[fault_id]
    if ":" not in fault_id:
        raise ConfigError(f"plant: unknown fault {fault_id!r}; known: {', '.join(sorted(FAULTS))}; or module:name")
    module, _, name = fault_id.partition(":")
    try:
        found = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"plant: {fault_id!r} cannot be had: {error}; is its folder in PYTHONPATH?") from None
    if isinstance(found, Fault):
        return replace(found, id=fault_id)
    told = (getattr(found, "__doc__", None) or "").strip().splitlines()[:1]
    number, _, summary = told[0].partition(":") if told else ("", "", "")
    if not callable(found) or not number.isdigit():
        raise ConfigError(f"plant: {fault_id!r} is no Fault, and no function whose docstring begins with NUMBER: TEXT")
    return Fault(fault_id, "its author", summary.strip(), f"{number}: said by its author", {"alter": found})


def plant(fault_id: str | None) -> Seams:
    """The seams with one fault in place; the clean ones for None."""
    if fault_id is None:
        return CLEAN
    fault = find_fault(fault_id)
    names = {f.name for f in fields(Seams)}  # a fault of the server replaces functions there
    return replace(CLEAN, **{name: wrong for name, wrong in fault.replaces.items() if name in names})
