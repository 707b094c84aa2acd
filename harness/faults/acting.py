"""Where a fault acts, by what it says itself: on which checkpoints, and under which settings of a server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from harness.differential.models import Model
from harness.faults.findings import CLEAN
from reference_engine.faults import find_fault

FAMILIES: Mapping[str, tuple[str, ...]] = {
    "several spans an item": ("random-qwen3-vl", "random-glm4v", "random-idefics3"),
    "deepstack": ("random-qwen3-vl",),
    "videos placed or written by time": ("random-qwen2.5-vl", "random-qwen3-vl"),
    "text": ("random-qwen2",),
}
"""Checkpoints of those families; the first one has all that others name."""
CHUNKS: Mapping[str, Any] = {"chunked_prefill": 16, "block_size": 4}


def checkpoints_of(fault: str, models: Sequence[Model]) -> Sequence[Model]:
    """Of ``models``, the fewest on which it must be seen; all of them where it acts on none, or where there is none."""
    if fault == CLEAN:
        return models
    names = FAMILIES.get(find_fault(fault).families, (models[0].name,))
    return [model for model in models if model.name in names] or models


def settings_of(fault: str) -> Mapping[str, Any]:
    """Those without which it changes nothing, as an engine's configuration has them."""
    settings: dict[str, Any] = {}
    for toggle in () if fault == CLEAN else find_fault(fault).toggles:
        name, _, value = toggle.partition("=")
        if name == "chunked_prefill" and not value:
            settings |= CHUNKS
        elif value.isdigit() or value in ("on", "off"):
            settings[name] = int(value) if value.isdigit() else value == "on"
    return settings
