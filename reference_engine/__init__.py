"""A small vision-language serving engine that is right, readable, and tells what it did: the oracle others are
compared with.

>>> from reference_engine import Engine, EngineConfig, Request
>>> [answer] = Engine(EngineConfig()).generate([Request("a", text="...", images=[image], want_evidence=True)])

Importing this package does not import torch; the first use of :class:`Engine` does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reference_engine.config import EngineConfig
from reference_engine.errors import ConfigError, EncoderMismatch, RequestError
from reference_engine.request import Answer, Evidence, ItemEvidence, Request, StepOutput
from reference_engine.sampling_params import SamplingParams

if TYPE_CHECKING:
    from reference_engine.engine import Engine

__all__ = [
    "Answer", "ConfigError", "EncoderMismatch", "Engine", "EngineConfig", "Evidence", "ItemEvidence", "Request",
    "RequestError", "SamplingParams", "StepOutput",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name == "Engine":
        from reference_engine.engine import Engine

        return Engine
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
