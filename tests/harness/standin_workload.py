"""Pictures that the stand-in engine can read, and questions about them."""

from __future__ import annotations

import random
from collections.abc import Sequence

from PIL import Image

from harness.workloads.chat import Question

CELL = 28


def solid(digit: int, rows: int, columns: int) -> Image.Image:
    """A picture that the stand-in reads as ``digit``."""
    return Image.new("RGB", (columns * CELL, rows * CELL), (25 * digit + 5, 80, 120))


def plain_questions(samples: int, seed: int) -> list[Question]:
    rng = random.Random(seed)
    found = []
    for _ in range(samples):
        digits = [rng.randrange(10) for _ in range(rng.randint(1, 2))]
        images = [solid(digit, rng.randint(1, 2), rng.randint(1, 3)) for digit in digits]
        found.append(Question(images, "read", "".join(map(str, digits))))
    return found


def plain_questioner(rng: random.Random, shapes: Sequence[tuple[int, int]]) -> Question:
    digits = [rng.randrange(10) for _ in shapes]
    return Question(
        [solid(d, *shape) for d, shape in zip(digits, shapes, strict=True)], "read", "".join(map(str, digits))
    )
