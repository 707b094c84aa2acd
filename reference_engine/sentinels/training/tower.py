"""The first half: teach the vision tower to write each cell's attributes into its rows.

Trained end to end from nothing, neither tower nor language model learns anything in an hour. So the tower learns
first, alone, to emit codes (see :mod:`reference_engine.sentinels.architectures.base`). The language model then meets
rows as clean as word embeddings, with as much energy in the colour as in the digit.

Shapes: R rows, K levels, D hidden.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from reference_engine.sentinels.architectures.base import CODE_LENGTH, IGNORED, Architecture
from reference_engine.sentinels.digits import DigitBank
from reference_engine.sentinels.tasks import CELL, GridImage, make_image


def _labels(architecture: Architecture, images: Sequence[GridImage]) -> NDArray[np.int64]:
    return np.concatenate([architecture.labels(image) for image in images])


def _draw(
    architecture: Architecture, rng: np.random.Generator, bank: DigitBank, count: int, large: float
) -> list[GridImage]:
    limits = replace(architecture.limits, large_digits=large if architecture.limits.large_digits else 0.0)
    if limits.shapes:
        shapes = [limits.shapes[i] for i in rng.integers(len(limits.shapes), size=count)]
    else:
        shapes = [(int(r), int(c)) for r, c in rng.integers(1, 6, size=(count, 2))]
    return [make_image(rng, bank, shape, limits) for shape in shapes]


def _scores(architecture: Architecture, rows_RKD: Tensor) -> list[Tensor]:
    """How much of each attribute's codes is in the rows, [R, classes] each."""
    pairs = zip(architecture.attributes, architecture.code_book(), strict=True)
    return [rows_RKD[:, attribute.level] @ codes.T for attribute, codes in pairs]


@torch.no_grad()
def cell_accuracy(architecture: Architecture, model: Any, images: Sequence[GridImage]) -> dict[str, float]:
    """Share of rows, of those that tell an attribute, whose nearest code is the right one."""
    scores = _scores(architecture, architecture.encode(model, images))
    figures = {}
    for attribute, score, labels in zip(architecture.attributes, scores, _labels(architecture, images).T, strict=True):
        told = torch.from_numpy(labels != IGNORED)
        figures[attribute.name] = score.argmax(-1).eq(torch.from_numpy(labels))[told].float().mean().item()
    return figures


def train_tower(
    architecture: Architecture, model: Any, *, steps: int, seed: int, large_from: float, peak: float = 2e-3
) -> Iterator[dict[str, float]]:
    """Train the tower in place; yields figures every 50 steps. Digits spanning cells come in at ``large_from``."""
    tower = [p for name, p in model.named_parameters() if architecture.in_tower(name)]
    rng = np.random.default_rng(seed)
    bank = DigitBank("train", cell=CELL, variants=24, seed=seed + 1, augment=True)
    held_out = DigitBank("validation", cell=CELL, variants=4, seed=seed + 2, augment=False)
    judged = _draw(architecture, np.random.default_rng(seed + 3), held_out, 96, 0.5)
    groups = [
        {"params": [p for p in tower if p.ndim > 1], "weight_decay": 0.05},
        {"params": [p for p in tower if p.ndim < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=peak, betas=(0.9, 0.98))
    model.train()
    for step in range(steps):
        done = step / steps
        for group in optimizer.param_groups:
            group["lr"] = peak * min(1.0, (step + 1) / 50) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done)))
        images = _draw(architecture, rng, bank, 40, 0.5 if done >= large_from else 0.0)
        labels = _labels(architecture, images)
        rows = architecture.encode(model, images)
        sharpness = 8.0 / CODE_LENGTH**2
        named: Tensor = sum(
            F.cross_entropy(sharpness * score, torch.from_numpy(told), ignore_index=IGNORED)
            for score, told in zip(_scores(architecture, rows), labels.T, strict=True)
        )  # type: ignore[assignment]
        distance = (rows - architecture.codes(labels)).square().sum((-2, -1)).mean()
        (named + distance).backward()
        torch.nn.utils.clip_grad_norm_(tower, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if step % 50 == 49 or step + 1 == steps:
            model.eval()
            figures = cell_accuracy(architecture, model, judged)
            yield {"step": step + 1, "loss": named.item(), "distance": distance.item(), **figures}
            model.train()
    model.eval()
