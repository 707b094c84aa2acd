"""``python -m harness.bench.contestants.transformers_server MODEL OPTIONS``: ``transformers serve``, less two things.

Where torchvision was built for another torch, its own decoder of image files is missing, and every request with an
image would end in status 500: there Pillow opens the files, to the same pixels. And its parser of answers is off, which
cuts what a model without an end token says down to its last turn: whole answers are compared.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import torch
import torchvision.io
import typer
from PIL import Image
from transformers.cli.serve import Serve
from transformers.cli.serving import utils as serving


def decode_with_pillow(data: torch.Tensor, mode: Any = None, **_: Any) -> torch.Tensor:
    """The bytes of an image file, uint8 [N], as uint8 [3, H, W]."""
    image = Image.open(io.BytesIO(data.numpy().tobytes())).convert("RGB")
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def can_decode() -> bool:
    buffer = io.BytesIO()
    Image.new("RGB", (1, 1)).save(buffer, "PNG")
    try:
        torchvision.io.decode_image(torch.frombuffer(bytearray(buffer.getvalue()), dtype=torch.uint8))
    except RuntimeError:
        return False
    return True


if __name__ == "__main__":
    if not can_decode():
        torchvision.io.decode_image = decode_with_pillow
    serving.get_response_template = lambda *_: None
    typer.run(Serve)
