"""Real regressions, planted in the reference engine on request, to prove that a check sees them.

>>> seams = plant("F1-01")      # raises ConfigError for an unknown id, listing the known ones
>>> plant(None) is CLEAN
True
"""

from __future__ import annotations

from dataclasses import fields, replace

from reference_engine.errors import ConfigError
from reference_engine.faults import (
    answers,
    detokenizing,
    encoder_cache,
    encoding,
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
    )
    for fault in module.FAULTS
}

__all__ = ["CLEAN", "FAULTS", "Fault", "Reports", "Seams", "plant", "read_reports"]


def plant(fault_id: str | None) -> Seams:
    """The seams with one fault in place; the clean ones for None."""
    if fault_id is None:
        return CLEAN
    if fault_id not in FAULTS:
        raise ConfigError(f"plant: unknown fault {fault_id!r}; known: {', '.join(sorted(FAULTS))}")
    names = {f.name for f in fields(Seams)}  # a fault of the server replaces functions there
    return replace(CLEAN, **{name: wrong for name, wrong in FAULTS[fault_id].replaces.items() if name in names})
