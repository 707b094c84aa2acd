"""Pictures that own several spans, mixed with ones that own a single span, so that they share encoder passes
(sglang#26442).

A server launched with ``slice_rows`` cuts a tall picture into horizontal bands, each a span of its own. A tall picture
here is a stack of images of equal width whose seams lie on those cuts: the bands are then the images that the question
counts. The order of tall and plain pictures varies (first, middle, last), and so do the sizes.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from PIL import Image

from harness.observation import Prompt
from harness.vocabulary import Vocabulary
from harness.workloads.chat import Question, chat_prompt

SLICE_ROWS = 2
MOST_BANDS = 4
LAYOUTS = ("S", "T", "SS", "TS", "S", "STS", "SS", "S")
"""A prompt's pictures, in turn: T is a tall one of two or three bands, S a plain one. Every eight have both, mixed."""

Questioner = Callable[[random.Random, Sequence[tuple[int, int]]], Question]
"""From grid shapes (rows, columns) of all bands: their images, a question counting them in order, its answer."""


@dataclass(frozen=True)
class Plan:
    """The bands of each picture of one prompt, as grid shapes."""

    pictures: tuple[tuple[tuple[int, int], ...], ...]

    @property
    def bands(self) -> list[tuple[int, int]]:
        return [band for picture in self.pictures for band in picture]


def sentinel_questioner(rng: random.Random, shapes: Sequence[tuple[int, int]]) -> Question:
    """Held-out digits, and a question of a kind that the sentinels were trained for."""
    import numpy as np

    from reference_engine.sentinels.digits import shared_bank
    from reference_engine.sentinels.tasks import CELL, QUESTIONS, Limits, choose_kind, make_image

    numbers = np.random.default_rng(rng.getrandbits(32))
    images = [make_image(numbers, shared_bank("test", CELL), shape, Limits()) for shape in shapes]
    asked = QUESTIONS[choose_kind(numbers)][0](numbers, images)
    return Question([image.to_pil() for image in images], asked.question, asked.answer)


def multispan_prompts(
    vocabulary: Vocabulary,
    count: int,
    seed: int,
    *,
    questioner: Questioner = sentinel_questioner,
    slice_rows: int = SLICE_ROWS,
) -> list[Prompt]:
    rng = random.Random(seed)
    return [_prompt(vocabulary, number, rng, questioner, slice_rows) for number in range(count)]


def _prompt(vocabulary: Vocabulary, number: int, rng: random.Random, questioner: Questioner, slice_rows: int) -> Prompt:
    plan = make_plan(rng, LAYOUTS[number % len(LAYOUTS)], slice_rows)
    asked = questioner(rng, plan.bands)
    left = iter(asked.images)
    images = [stack([next(left) for _ in picture]) for picture in plan.pictures]
    prompt = chat_prompt(vocabulary, f"batch-{number:02d}", Question(images, asked.question, asked.answer))
    return replace(prompt, spans_per_item=tuple(len(picture) for picture in plan.pictures))


def make_plan(rng: random.Random, layout: str, slice_rows: int) -> Plan:
    """Grid shapes for ``layout``, at most ``MOST_BANDS`` together: what the sentinels were trained to count."""
    most_seams = MOST_BANDS - len(layout)
    pictures = []
    for kind in layout:
        columns = rng.randint(1, 4)
        rows = [slice_rows] * rng.randint(1, min(2, most_seams)) if kind == "T" else []
        pictures.append(tuple((height, columns) for height in [*rows, rng.randint(1, slice_rows)]))
    return Plan(tuple(pictures))


def stack(bands: Sequence[Image.Image]) -> Image.Image:
    """Images of equal width, one under the other."""
    tall = Image.new("RGB", (bands[0].width, sum(band.height for band in bands)))
    top = 0
    for band in bands:
        tall.paste(band, (0, top))
        top += band.height
    return tall
