"""A processor's output as clients send it (``processor_output``): ids, encoder inputs, MRoPE positions.

A tensor is ``{"dtype": "float32", "shape": [24, 1176], "data": BASE64}``: its numbers one after the other, the last
axis fastest, little endian.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from reference_engine.errors import RequestError
from reference_engine.multimodal.images import base64_bytes
from reference_engine.multimodal.processor_output import ProcessorOutput
from reference_engine.server.protocol import ProcessorOutputBody, TensorBody

_STORED = {"float32": "<f4", "float16": "<f2", "bfloat16": "<u2", "int32": "<i4", "int64": "<i8"}


def read_processor_output(body: ProcessorOutputBody | None, field: str = "processor_output") -> ProcessorOutput | None:
    """None where none was sent. Raises :class:`RequestError` naming the part that cannot be read."""
    if body is None:
        return None
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
