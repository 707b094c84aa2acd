"""The sentinels' architectures: real ones, transformers' classes unchanged, of about two million parameters each."""

from __future__ import annotations

import json
from pathlib import Path

from reference_engine.errors import ConfigError
from reference_engine.sentinels.architectures.base import Architecture
from reference_engine.sentinels.architectures.idefics3 import Idefics3
from reference_engine.sentinels.architectures.qwen2_5_vl import Qwen25VL
from reference_engine.sentinels.architectures.qwen3_vl import Qwen3VL

ARCHITECTURES: dict[str, Architecture] = {a.name: a for a in (Qwen25VL(), Qwen3VL(), Idefics3())}


def architecture_of(checkpoint: Path) -> Architecture:
    """That of a sentinel's directory. Raises :class:`ConfigError` for a model that no sentinel resembles."""
    name = json.loads((checkpoint / "config.json").read_text()).get("model_type")
    if name not in ARCHITECTURES:
        raise ConfigError(f"model: {checkpoint} is of type {name!r}; sentinels are {', '.join(ARCHITECTURES)}")
    return ARCHITECTURES[name]
