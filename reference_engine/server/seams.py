"""The few functions of the server that a fault may replace, clean by default."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

from reference_engine.faults import FAULTS
from reference_engine.server.chat import chat_ids
from reference_engine.server.meta_info import given


@dataclass(frozen=True)
class ServingSeams:
    """Each field has the signature of the function it defaults to."""

    chat_ids: Callable[..., list[int]] = chat_ids
    given: Callable[..., dict[str, Any]] = given


CLEAN_SERVING = ServingSeams()


def plant_serving(fault_id: str | None) -> ServingSeams:
    """The server's part of a fault; most have none."""
    names = {f.name for f in fields(ServingSeams)}
    replaces = FAULTS[fault_id].replaces if fault_id in FAULTS else {}
    return replace(CLEAN_SERVING, **{name: wrong for name, wrong in replaces.items() if name in names})
