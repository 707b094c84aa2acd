"""Copies to a device that the host does not wait for."""

from __future__ import annotations

import torch
from torch import Tensor


def to_device(host: Tensor, device: torch.device) -> Tensor:
    """``host`` on the device. Through pinned memory and without waiting where the device is not the CPU, so that a step
    is queued while the one before it still runs. What is on a device already is left there.
    """
    if device.type == "cpu" or host.device.type != "cpu":
        return host.to(device)
    return host.pin_memory().to(device, non_blocking=True)
