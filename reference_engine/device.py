"""What a device can do for us: copies that the host does not wait for, and our Triton kernels."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec

import torch
from torch import Tensor


def to_device(host: Tensor, device: torch.device) -> Tensor:
    """``host`` on the device. Through pinned memory and without waiting where the device is not the CPU, so that a step
    is queued while the one before it still runs. What is on a device already is left there.
    """
    if device.type == "cpu" or host.device.type != "cpu":
        return host.to(device)
    return host.pin_memory().to(device, non_blocking=True)


def use(device: str) -> None:
    """Make a card the one that this thread launches on: new streams and Triton's kernels go there, wherever their
    tensors are.
    """
    if device != "cpu":
        torch.cuda.set_device(torch.device(device).index or 0)


def runs_kernels(device: torch.device) -> bool:
    """Whether :mod:`reference_engine.kernels` can be used there, whoever attends. ROCm's cards are of type cuda too."""
    return device.type == "cuda" and _has_triton()


@cache
def _has_triton() -> bool:
    return find_spec("triton") is not None
