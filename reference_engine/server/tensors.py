"""A processor's output as clients send it (``processor_output``): ids, encoder inputs, MRoPE positions.

A tensor is ``{"dtype": "float32", "shape": [24, 1176], "data": BASE64}``: its numbers one after the other, the last
axis fastest, little endian.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from reference_engine.errors import RequestError
from reference_engine.multimodal.images import base64_bytes
from reference_engine.multimodal.processor_output import ProcessorOutput
from reference_engine.server.protocol import Body, Integer

_STORED = {"float32": "<f4", "float16": "<f2", "bfloat16": "<u2", "int32": "<i4", "int64": "<i8"}


class TensorBody(Body):
    dtype: Literal["float32", "float16", "bfloat16", "int32", "int64"] = "float32"
    shape: list[Annotated[int, Field(ge=0, le=2**31)]]
    data: str


class ProcessorOutputBody(Body):
    """What a Hugging Face processor made of this prompt and its images, placeholders expanded."""

    input_ids: list[int]
    tensors: dict[str, TensorBody] = Field(default_factory=dict)
    """By the processor's names, such as ``pixel_values`` and ``image_grid_thw``."""
    mrope_positions: list[list[Integer]] | None = None
    """Three rows of one number a token."""
    mrope_position_delta: Integer | None = None


def read_processor_output(body: ProcessorOutputBody, field: str = "processor_output") -> ProcessorOutput:
    """Raises :class:`RequestError` naming the part that cannot be read."""
    tensors = {name: read_tensor(sent, f"{field}.tensors.{name}") for name, sent in body.tensors.items()}
    positions = body.mrope_positions
    if positions is not None and len({len(row) for row in positions}) > 1:
        lengths = ", ".join(str(len(row)) for row in positions)
        raise RequestError(f"{field}.mrope_positions", f"rows of {lengths} numbers are not one tensor")
    return ProcessorOutput(
        input_ids=body.input_ids,
        tensors=tensors,
        mrope_positions=None if positions is None else torch.tensor(positions, dtype=torch.int64),
        mrope_position_delta=body.mrope_position_delta,
    )


def read_tensor(body: TensorBody, field: str) -> Tensor:
    data = base64_bytes(body.data, field)
    stored = np.dtype(_STORED[body.dtype])
    expected = math.prod(body.shape) * stored.itemsize
    if len(data) != expected:
        raise RequestError(field, f"{len(data)} bytes; {body.dtype} of shape {body.shape} has {expected}")
    numbers = torch.from_numpy(np.frombuffer(data, stored).astype(stored.newbyteorder("=")).reshape(body.shape))
    return numbers.view(torch.bfloat16) if body.dtype == "bfloat16" else numbers
