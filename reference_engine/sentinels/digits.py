"""The digit bank: real handwritten digits (scikit-learn's ``load_digits``, UCI Optical Recognition, 1,797 images of
8x8), split by digit image into train, validation and test, so that no image a sentinel is judged on was ever trained
on.

Committed as ``digits.npz`` (76 kB), so that running a workload needs no scikit-learn; :func:`build_bank` made it.
A digit is *legible* when its five nearest other images, by pixel distance, all carry its label. Only legible digits are
drawn, in every split: a sentinel detects misplaced rows, and a digit nobody can read would only add noise to that.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
BANK_FILE = Path(__file__).parent / "digits.npz"
NEIGHBOURS = 5


def build_bank(path: Path = BANK_FILE, seed: int = 0) -> None:
    """Write the bank from scikit-learn: ``pixels`` uint8 [N, 8, 8] in 0..16, ``labels`` uint8 [N], ``split`` uint8
    [N]."""
    from sklearn.datasets import load_digits
    from sklearn.neighbors import KNeighborsClassifier

    pixels, labels = load_digits(return_X_y=True)
    nearest = KNeighborsClassifier(NEIGHBOURS + 1).fit(pixels, labels)
    neighbour_labels = labels[nearest.kneighbors(pixels, return_distance=False)[:, 1:]]
    legible = (neighbour_labels == labels[:, None]).all(1)
    pixels, labels = pixels[legible], labels[legible]
    order = np.random.default_rng(seed)
    split = np.zeros(len(labels), np.uint8)
    for digit in range(10):
        members = order.permutation(np.flatnonzero(labels == digit))
        test, validation = len(members) // 5, len(members) // 10
        split[members[:test]] = 2
        split[members[test : test + validation]] = 1
    np.savez_compressed(
        path, pixels=pixels.reshape(-1, 8, 8).astype(np.uint8), labels=labels.astype(np.uint8), split=split
    )


def render(digits: NDArray[np.float32], side: int, generator: torch.Generator, *, augment: bool) -> NDArray[np.float32]:
    """Ink masks in 0..1, float32 [N, side, side], of 8x8 digits [N, 8, 8]: resampled, a little moved; warped when
    augmented."""
    count = len(digits)

    def uniform(low: float, high: float) -> torch.Tensor:
        return low + (high - low) * torch.rand(count, generator=generator)

    scale, stretch, angle, shear, gamma = (
        torch.ones(count),
        torch.ones(count),
        *[torch.zeros(count)] * 2,
        torch.ones(count),
    )
    shift = 0.08
    if augment:
        angle, scale, stretch = uniform(-0.25, 0.25), uniform(0.85, 1.2), uniform(0.88, 1.12)
        shear, gamma, shift = uniform(-0.2, 0.2), uniform(0.7, 1.4), 0.18
    cos, sin = torch.cos(angle), torch.sin(angle)
    rows = [
        torch.stack([cos * scale * stretch, (shear - sin) * scale, uniform(-shift, shift)], 1),
        torch.stack([sin * scale, cos * scale, uniform(-shift, shift)], 1),
    ]
    support = F.pad(torch.from_numpy(digits)[:, None], (1, 1, 1, 1))
    grid = F.affine_grid(torch.stack(rows, 1) * 1.05, [count, 1, side, side], align_corners=False)
    ink = F.grid_sample(support, grid, mode="bicubic", align_corners=False)[:, 0].clamp(0, 1)
    return (ink ** gamma[:, None, None]).numpy()


class DigitBank:
    """Rendered digits of one split: ``variants`` renderings of every image, at one cell and at two cells a side."""

    def __init__(self, split: Split, *, cell: int, variants: int, seed: int, augment: bool) -> None:
        with np.load(BANK_FILE) as stored:
            chosen = stored["split"] == SPLITS.index(split)
            pixels = stored["pixels"][chosen].astype(np.float32) / 16.0
            self.labels: NDArray[np.uint8] = stored["labels"][chosen]
        generator = torch.Generator().manual_seed(seed)
        self.small = np.stack([render(pixels, cell, generator, augment=augment) for _ in range(variants)], 1).astype(
            np.float16
        )
        large = max(2, variants // 4)
        self.large = np.stack([render(pixels, 2 * cell, generator, augment=augment) for _ in range(large)], 1).astype(
            np.float16
        )
        self._members = [np.flatnonzero(self.labels == digit) for digit in range(10)]

    def draw(self, rng: np.random.Generator, digit: int, *, large: bool = False) -> NDArray[np.float32]:
        """One rendering of ``digit``: float32 [side, side] in 0..1."""
        bank = self.large if large else self.small
        member = self._members[digit][rng.integers(len(self._members[digit]))]
        return bank[member, rng.integers(bank.shape[1])].astype(np.float32)


@lru_cache(maxsize=4)
def shared_bank(split: Split, cell: int) -> DigitBank:
    """The bank that workloads draw from: not augmented, the same in every process."""
    return DigitBank(split, cell=cell, variants=4, seed=2, augment=False)
