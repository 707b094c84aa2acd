"""Images of real digits on coloured cells, and questions whose answer depends on which image, which cell and which
order.

One cell is 28x28 pixels, which is one merged token of Qwen2.5-VL (patch 14, merge 2): an h x w grid is h*w
placeholders. Images of one prompt often share their shape, so that a swap passes every shape check and only the
answer tells. Everything is made from a seed: the same arguments give the same samples on every machine.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from reference_engine.sentinels.digits import DigitBank, Split, shared_bank

CELL = 28
COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (205, 40, 40),
    "green": (40, 150, 60),
    "blue": (45, 75, 205),
    "yellow": (225, 205, 50),
    "purple": (135, 50, 165),
    "cyan": (70, 200, 210),
}
COLOUR_NAMES = tuple(COLOURS)
WORDS = tuple(
    """
    Describe describe transcribe inscribe the every each image picture digit carefully please answer with only what is
    seen in order from left to right and top to bottom you are an assistant that reads numbers on coloured cells quick
    brown fox over lazy dog small boats drift past old stone bridge nobody says anything about weather music until
    evening
    """.split()  # noqa: SIM905
)


@dataclass(frozen=True)
class Limits:
    """How large the images of one prompt may get; the curriculum of the training raises them."""

    max_images: int = 4
    max_side: int = 5
    max_cells: int = 36
    large_digits: float = 0.3
    """Share of images in which some digits span 2x2 cells, so that a cell cannot be read without its neighbours."""
    shapes: tuple[tuple[int, int], ...] = ()
    """The only (rows, columns) drawn, where there are any; sides must be even then."""
    quarters: bool = False
    """One colour a quarter of an image, not a cell."""


@dataclass
class GridImage:
    """An image of ``rows`` x ``columns`` cells. ``digits`` and ``colours`` are int64 [rows, columns]; ``pixels``
    uint8 [H, W, 3]."""

    digits: NDArray[np.int64]
    colours: NDArray[np.int64]
    pixels: NDArray[np.uint8]

    @property
    def shape(self) -> tuple[int, int]:
        return self.digits.shape[0], self.digits.shape[1]

    @property
    def cells(self) -> int:
        return self.digits.size

    def to_pil(self) -> Image.Image:
        return Image.fromarray(self.pixels)


@dataclass(frozen=True)
class Sample:
    images: list[Image.Image]
    question: str
    answer: str
    kind: str


def draw_content(
    rng: np.random.Generator, shape: tuple[int, int], limits: Limits
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Digits and colours of an image's cells, int64 [rows, columns] each."""
    digits = rng.integers(10, size=shape)
    if not limits.quarters:
        return digits, rng.integers(len(COLOURS), size=shape)
    quarters = rng.integers(len(COLOURS), size=(2, 2))
    return digits, quarters.repeat(shape[0] // 2, 0).repeat(shape[1] // 2, 1)


def make_image(rng: np.random.Generator, bank: DigitBank, shape: tuple[int, int], limits: Limits) -> GridImage:
    rows, columns = shape
    digits, colours = draw_content(rng, shape, limits)
    corners = _large_corners(rng, shape) if rng.random() < limits.large_digits else []
    for row, column in corners:
        digits[row : row + 2, column : column + 2] = digits[row, column]
        colours[row : row + 2, column : column + 2] = colours[row, column]
    covered = {(r + i, c + j) for r, c in corners for i in (0, 1) for j in (0, 1)}
    ink = np.zeros((rows * CELL, columns * CELL), np.float32)
    for row, column in np.ndindex(rows, columns):
        if (row, column) not in covered:
            _place(ink, bank.draw(rng, int(digits[row, column])), row, column)
    for row, column in corners:
        mask = bank.draw(rng, int(digits[row, column]), large=True)
        mask[[0, 1, -2, -1]] = mask[:, [0, 1, -2, -1]] = 0.5  # a frame tells which quarter of the digit a cell is
        _place(ink, mask, row, column)
    return GridImage(digits, colours, _paint(rng, ink, colours))


def _large_corners(rng: np.random.Generator, shape: tuple[int, int]) -> list[tuple[int, int]]:
    """Top-left cells of disjoint 2x2 blocks."""
    used = np.zeros(shape, bool)
    corners = []
    for place in rng.permutation(max(0, (shape[0] - 1) * (shape[1] - 1))):
        row, column = divmod(int(place), shape[1] - 1)
        if used[row : row + 2, column : column + 2].any() or rng.random() < 0.4:
            continue
        used[row : row + 2, column : column + 2] = True
        corners.append((row, column))
    return corners


def _place(ink: NDArray[np.float32], mask: NDArray[np.float32], row: int, column: int) -> None:
    ink[row * CELL : row * CELL + len(mask), column * CELL : column * CELL + len(mask)] = mask


def _paint(rng: np.random.Generator, ink: NDArray[np.float32], colours: NDArray[np.int64]) -> NDArray[np.uint8]:
    palette = np.array(list(COLOURS.values()), np.float32)
    ground = palette[colours] + rng.integers(-14, 15, size=(*colours.shape, 3))
    ground = ground.repeat(CELL, 0).repeat(CELL, 1)
    pen = 248.0 if rng.random() < 0.5 else 10.0
    pixels = ground + (pen - ground) * ink[..., None] + rng.normal(0, 2.5, size=ink.shape)[..., None]
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)


def choose_shapes(rng: np.random.Generator, limits: Limits, min_images: int = 1) -> list[tuple[int, int]]:
    """Grid shapes (rows, columns) of one prompt's images, at most ``limits.max_cells`` cells together."""
    count = int(rng.integers(min_images, limits.max_images + 1))
    room = limits.max_cells // count
    shapes: list[tuple[int, int]] = []
    while len(shapes) < count:
        if shapes and rng.random() < 0.35:
            shapes.append(shapes[-1])
            continue
        if limits.shapes:
            rows, columns = limits.shapes[int(rng.integers(len(limits.shapes)))]
        else:
            rows, columns = (int(n) for n in rng.integers(1, limits.max_side + 1, size=2))
        if rows * columns <= room:
            shapes.append((rows, columns))
    return shapes


@dataclass(frozen=True)
class Asked:
    question: str
    answer: str
    cells: list[tuple[int, int, int]]
    """(image, row, column) that each token of the answer is read from, in order."""


QuestionMaker = Callable[[np.random.Generator, Sequence[GridImage]], Asked]


def _pick(rng: np.random.Generator, images: Sequence[GridImage]) -> tuple[int, int, int]:
    """Image, row, column; later rows and columns a little more often, where a shift shows."""
    image = int(rng.integers(len(images)))
    rows, columns = images[image].shape
    row, column = (int(max(rng.integers(n), rng.integers(n) if rng.random() < 0.5 else 0)) for n in (rows, columns))
    return image, row, column


def _digits(images: Sequence[GridImage], cells: list[tuple[int, int, int]]) -> str:
    return "".join(str(images[i].digits[r, c]) for i, r, c in cells)


def _names(images: Sequence[GridImage], cells: list[tuple[int, int, int]]) -> str:
    return " ".join(COLOUR_NAMES[images[i].colours[r, c]] for i, r, c in cells)


def _cell(rng: np.random.Generator, images: Sequence[GridImage]) -> Asked:
    i, r, c = cell = _pick(rng, images)
    return Asked(f"image{i + 1} row{r + 1} col{c + 1} digit?", _digits(images, [cell]), [cell])


def _colour(rng: np.random.Generator, images: Sequence[GridImage]) -> Asked:
    i, r, c = cell = _pick(rng, images)
    return Asked(f"image{i + 1} row{r + 1} col{c + 1} colour?", _names(images, [cell]), [cell])


def _row(rng: np.random.Generator, images: Sequence[GridImage]) -> Asked:
    i, r, _ = _pick(rng, images)
    cells = [(i, r, c) for c in range(images[i].shape[1])]
    return Asked(f"image{i + 1} row{r + 1} read", _digits(images, cells), cells)


def _column(rng: np.random.Generator, images: Sequence[GridImage]) -> Asked:
    i, _, c = _pick(rng, images)
    cells = [(i, r, c) for r in range(images[i].shape[0])]
    return Asked(f"image{i + 1} col{c + 1} read", _digits(images, cells), cells)


def _row_colours(rng: np.random.Generator, images: Sequence[GridImage]) -> Asked:
    i, r, _ = _pick(rng, images)
    cells = [(i, r, c) for c in range(images[i].shape[1])]
    return Asked(f"image{i + 1} row{r + 1} colours", _names(images, cells), cells)


def _last(rng: np.random.Generator, images: Sequence[GridImage]) -> Asked:
    i = int(rng.integers(len(images)))
    cell = (i, images[i].shape[0] - 1, images[i].shape[1] - 1)
    return Asked(f"image{i + 1} last digit?", _digits(images, [cell]), [cell])


def _firsts(_rng: np.random.Generator, images: Sequence[GridImage]) -> Asked:
    cells = [(i, 0, 0) for i in range(len(images))]
    return Asked("every image first digit?", _digits(images, cells), cells)


def _quarter(rng: np.random.Generator, images: Sequence[GridImage]) -> Asked:
    i, lower, right = int(rng.integers(len(images))), int(rng.integers(2)), int(rng.integers(2))
    cell = (i, lower * images[i].shape[0] // 2, right * images[i].shape[1] // 2)
    place = f"{('top', 'bottom')[lower]} {('left', 'right')[right]}"
    return Asked(f"image{i + 1} {place} colour?", _names(images, [cell]), [cell])


QUESTIONS: dict[str, tuple[QuestionMaker, float]] = {
    "cell": (_cell, 22.0),
    "colour": (_colour, 14.0),
    "row": (_row, 20.0),
    "column": (_column, 20.0),
    "row_colours": (_row_colours, 8.0),
    "last": (_last, 8.0),
    "firsts": (_firsts, 8.0),
    "quarter": (_quarter, 18.0),
}
"""Kind -> (maker, share). ``firsts`` depends on the order of the images; the ``read`` kinds give several tokens."""
CELL_KINDS = ("cell", "colour", "row", "column", "row_colours", "last", "firsts")
"""What is asked of images whose cells have a colour each."""


def choose_kind(rng: np.random.Generator, kinds: Sequence[str] | None = None) -> str:
    names = list(kinds or CELL_KINDS)
    shares = np.array([QUESTIONS[name][1] for name in names])
    return names[int(rng.choice(len(names), p=shares / shares.sum()))]


def make_samples(
    count: int,
    seed: int,
    *,
    split: Split = "test",
    kinds: Sequence[str] | None = None,
    min_images: int = 1,
    max_images: int = 4,
    limits: Limits | None = None,
) -> list[Sample]:
    """``count`` questions, each on images of its own. Raises ``ValueError`` naming a kind that does not exist."""
    unknown = sorted(set(kinds or ()) - set(QUESTIONS))
    if unknown:
        raise ValueError(f"kinds: {unknown[0]!r} is not one of {', '.join(QUESTIONS)}")
    rng = np.random.default_rng(seed)
    bank = shared_bank(split, CELL)
    limits = limits or Limits(max_images=max_images)
    samples = []
    for _ in range(count):
        images = [make_image(rng, bank, s, limits) for s in choose_shapes(rng, limits, min_images)]
        kind = choose_kind(rng, kinds)
        asked = QUESTIONS[kind][0](rng, images)
        samples.append(Sample([image.to_pil() for image in images], asked.question, asked.answer, kind))
    return samples


def filler(rng: np.random.Generator, low: int, high: int) -> str:
    """Between ``low`` and ``high`` - 1 words that ask for nothing."""
    return " ".join(WORDS[int(i)] for i in rng.integers(len(WORDS), size=int(rng.integers(low, high))))
