"""The material a sentinel is judged on: splits that do not meet, answers that follow from the pictures."""

from __future__ import annotations

import numpy as np
import pytest

from reference_engine.sentinels.architectures import ARCHITECTURES
from reference_engine.sentinels.digits import BANK_FILE, SPLITS, DigitBank
from reference_engine.sentinels.tasks import (
    CELL,
    COLOUR_NAMES,
    QUESTIONS,
    Limits,
    choose_shapes,
    make_image,
    make_samples,
)

IDEFICS3_LIMITS = ARCHITECTURES["idefics3"].limits


def test_no_digit_image_is_in_two_splits() -> None:
    with np.load(BANK_FILE) as bank:
        pixels, split = bank["pixels"].reshape(-1, 64), bank["split"]
    seen = [set(map(bytes, pixels[split == index])) for index in range(len(SPLITS))]
    assert [len(s) for s in seen] == [1196, 165, 335]
    assert len(set.union(*seen)) == sum(map(len, seen))


def test_every_digit_is_in_every_split() -> None:
    for split in SPLITS:
        assert set(DigitBank(split, cell=CELL, variants=1, seed=0, augment=False).labels) == set(range(10))


def test_the_same_seed_gives_the_same_samples_and_another_seed_does_not() -> None:
    first, second, other = make_samples(20, 5), make_samples(20, 5), make_samples(20, 6)
    assert [(s.question, s.answer) for s in first] == [(s.question, s.answer) for s in second]
    pixels = [[image.tobytes() for s in samples for image in s.images] for samples in (first, second)]
    assert pixels[0] == pixels[1]
    assert [(s.question, s.answer) for s in first] != [(s.question, s.answer) for s in other]


def test_images_are_whole_cells_within_the_limits() -> None:
    for sample in make_samples(100, 1):
        cells = [(image.width // CELL) * (image.height // CELL) for image in sample.images]
        assert all(image.width % CELL == 0 and image.height % CELL == 0 for image in sample.images)
        assert sum(cells) <= Limits().max_cells
        assert 1 <= len(sample.images) <= Limits().max_images


@pytest.mark.parametrize("kind", QUESTIONS)
def test_answers_are_what_the_named_cells_hold(kind: str) -> None:
    rng = np.random.default_rng(3)
    limits = IDEFICS3_LIMITS if kind == "quarter" else Limits()
    bank = DigitBank("test", cell=CELL, variants=2, seed=0, augment=False)
    for _ in range(30):
        images = [make_image(rng, bank, shape, limits) for shape in choose_shapes(rng, limits)]
        asked = QUESTIONS[kind][0](rng, images)
        if "colour" in asked.question:
            held = " ".join(COLOUR_NAMES[images[i].colours[r, c]] for i, r, c in asked.cells)
        else:
            held = "".join(str(images[i].digits[r, c]) for i, r, c in asked.cells)
        assert asked.answer == held
        assert asked.question.startswith(("image", "every image"))


def test_a_kind_that_does_not_exist_is_named() -> None:
    with pytest.raises(ValueError, match=r"'colour_of_the_sky' is not one of cell, colour"):
        make_samples(1, 0, kinds=["cell", "colour_of_the_sky"])


def test_a_large_digit_covers_its_four_cells() -> None:
    rng = np.random.default_rng(0)
    bank = DigitBank("test", cell=CELL, variants=2, seed=0, augment=False)
    image = make_image(rng, bank, (2, 2), Limits(large_digits=1.0))
    while len(set(image.digits.ravel())) > 1:
        image = make_image(rng, bank, (2, 2), Limits(large_digits=1.0))
    assert len(set(image.colours.ravel())) == 1
