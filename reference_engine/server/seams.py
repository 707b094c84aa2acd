"""The few functions of the server that a fault may replace, clean by default."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, fields, replace
from typing import Any

from PIL import Image

from reference_engine.faults import find_fault
from reference_engine.multimodal.images import load_image
from reference_engine.sampling_params import SamplingParams
from reference_engine.server.chat import chat_ids
from reference_engine.server.limits import Limits
from reference_engine.server.meta_info import given, meta_fields
from reference_engine.server.sources import Sources


def every_field(params: SamplingParams) -> SamplingParams:
    """The sampling parameters of one prompt of several: those that were sent (sglang#27216)."""
    return params


async def in_pool(pool: Executor, read: Callable[[bytes], Any], raw: bytes) -> Any:
    """A body is read, and its images decoded, off the event loop (vllm#34789)."""
    return await asyncio.get_running_loop().run_in_executor(pool, read, raw)


@dataclass(frozen=True)
class ServingSeams:
    """Each field has the signature of the function it defaults to."""

    chat_ids: Callable[..., list[int]] = chat_ids
    given: Callable[..., dict[str, Any]] = given
    meta_fields: Callable[..., Mapping[str, Any]] = meta_fields
    sampling_of: Callable[[SamplingParams], SamplingParams] = every_field
    load_image: Callable[..., Image.Image] = load_image
    sources: Callable[[Limits], Sources] = Sources
    offload: Callable[..., Awaitable[Any]] = in_pool


CLEAN_SERVING = ServingSeams()


def plant_serving(fault_id: str | None) -> ServingSeams:
    """The server's part of a fault; most have none."""
    names = {f.name for f in fields(ServingSeams)}
    replaces = {} if fault_id is None else find_fault(fault_id).replaces
    return replace(CLEAN_SERVING, **{name: wrong for name, wrong in replaces.items() if name in names})
