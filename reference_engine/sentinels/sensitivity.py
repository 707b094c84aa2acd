"""What each kind of misplacement costs in accuracy: the proof that a sentinel sees it. Those that are ``required`` must
cost at least :data:`REQUIRED_LOSS`.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from reference_engine.sentinels.architectures.base import Architecture
from reference_engine.sentinels.cases import Case, answered_right, encode_cases
from reference_engine.sentinels.misplacements import misplacements_of

REQUIRED_LOSS = 0.25
LOW_PRECISION_LOSS = 0.01


@dataclass(frozen=True)
class Figure:
    name: str
    accuracy: float
    cases: int
    required: str = ""
    """Words of the requirement, or empty."""
    met: bool = True


def measure(architecture: Architecture, model: Any, cases: Sequence[Case]) -> Iterator[Figure]:
    """The clean figure first, then one a fault, then low precision. ``cases`` come without rows."""

    def accuracy(network: Any, judged: Sequence[Case]) -> float:
        return float(np.mean(answered_right(architecture, network, judged)))

    clean = encode_cases(architecture, model, cases)
    base = accuracy(model, clean)
    yield Figure("nothing wrong", base, len(clean))
    limit = base - REQUIRED_LOSS
    for fault in misplacements_of(architecture):
        left = accuracy(model, fault.put_wrong(clean))
        words = f"at most {limit:.1%}" if fault.required else ""
        yield Figure(fault.name, left, len(clean), words, not fault.required or left <= limit)
    if "mrope" in architecture.traits:
        swapped = [[(columns, rows) for rows, columns in case.shapes] for case in cases]
        left = accuracy(model, encode_cases(architecture, model, cases, swapped))
        yield Figure("grid h/w swapped in the vision tower only", left, len(clean))
    for dtype, required in ((torch.bfloat16, True), (torch.float16, False)):
        low = copy.deepcopy(model).to(dtype)
        left = accuracy(low, encode_cases(architecture, low, cases))
        met = not required or left > base - LOW_PRECISION_LOSS
        words = f"more than {base - LOW_PRECISION_LOSS:.1%}" if required else ""
        yield Figure(f"whole model in {str(dtype).removeprefix('torch.')}", left, len(clean), words, met)
