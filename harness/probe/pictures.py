"""The pictures that are sent: blocks of colours over one ground colour, so that a model has something to say about
each, no two alike. Made from a seed; lossless PNG.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import cast

import numpy as np
from PIL import Image

from harness.differential.cases import noise
from harness.differential.models import Size
from harness.observation import Picture

GROUNDS = ((220, 30, 30), (30, 60, 220), (240, 220, 40), (30, 170, 60), (130, 40, 160), (250, 250, 250), (15, 15, 15))
REPORTED: tuple[Size, ...] = (
    (365, 211), (211, 365), (153, 174), (174, 153), (337, 337), (161, 184), (184, 161), (26, 28), (332, 27), (27, 332),
    (11, 3), (3, 11), (2, 2), (1093, 5), (84, 56), (56, 84),
    (42, 70), (70, 42), (48, 80), (98, 126),
)  # fmt: skip
"""(width, height) of bug reports: near rounding edges, smaller than a patch, long and thin, transposed pairs."""


class Pictures:
    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self._made = 0

    def image(self, size: Size) -> Image.Image:
        """Another one every time; its ground is not that of the one before."""
        blocks = np.asarray(noise(self._rng, size), np.float32)
        ground = np.array(GROUNDS[self._made % len(GROUNDS)], np.float32)
        self._made += 1
        return Image.fromarray(np.rint(0.65 * ground + 0.35 * blocks).astype(np.uint8))

    def one(self, size: Size) -> Picture:
        return Picture.of(self.image(size))

    def several(self, size: Size, count: int) -> list[Picture]:
        return self.several_sizes([size] * count)

    def several_sizes(self, sizes: Sequence[Size]) -> list[Picture]:
        return [self.one(size) for size in sizes]


def nearly(picture: Picture, place: int = 0) -> Picture:
    """The same picture to any eye, one pixel of its first row one level off: no cache knows it, and an answer to it is
    as good as the same.
    """
    image = Image.open(io.BytesIO(picture.png)).convert("RGB")
    red, green, blue = cast("tuple[int, int, int]", image.getpixel((place, 0)))
    image.putpixel((place, 0), (red + 1 if red < 128 else red - 1, green, blue))
    return Picture.of(image)


def reshaped(picture: Picture) -> Picture:
    """The same bytes with width and height exchanged: another picture."""
    image = Image.open(io.BytesIO(picture.png)).convert("RGB")
    return Picture.of(Image.frombytes("RGB", (image.height, image.width), image.tobytes()))


def lower_half_of(image: Image.Image, other: Image.Image) -> Picture:
    """``image``, but its lower half is ``other``'s."""
    width, height = image.size
    made = image.copy()
    made.paste(other.crop((0, height // 2, width, height)), (0, height // 2))
    return Picture.of(made)


def turned(image: Image.Image) -> tuple[Picture, Picture]:
    """A file that says it is to be shown turned by 90 degrees, and the picture as it is to be shown."""
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(buffer, "PNG", exif=exif)
    shown = image.transpose(Image.Transpose.ROTATE_270)
    return Picture(buffer.getvalue(), *image.size), Picture.of(shown)


def modes(image: Image.Image) -> dict[str, tuple[Picture, Picture]]:
    """By mode: the picture in other clothes, and the RGB picture that it is."""
    rgba = image.convert("RGBA")
    grey, palette = image.convert("L"), image.quantize(16)
    return {
        name: (Picture.of(one), Picture.of(one.convert("RGB")))
        for name, one in (("grey", grey), ("palette", palette), ("opaque alpha", rgba))
    }
