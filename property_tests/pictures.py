"""Image files whose picture is known: drawn as colours, stored in every mode and orientation that clients send.

Files are written by Pillow; what each colour is stored as is said here, so that reading it back can be judged.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st
from PIL import Image

from harness.implementations.base import Picture, Size

ORIENTATION = 0x0112
"""The EXIF tag."""
Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Stored:
    """A file, how it was stored, and what it shows."""

    how: str
    data: bytes
    shows: Picture


def file_of(image: Image.Image, kind: str = "PNG", orientation: int = 1) -> bytes:
    file, exif = io.BytesIO(), Image.Exif()
    exif[ORIENTATION] = orientation
    image.save(file, kind, **({"exif": exif} if orientation != 1 else {}))
    return file.getvalue()


def _put(mode: str, size: Size, values: Sequence[Any]) -> Image.Image:
    image = Image.new(mode, size)
    image.putdata(values)
    return image


def _rgb(size: Size, colours: list[Colour]) -> Image.Image:
    return _put("RGB", size, list(colours))


def _opaque(size: Size, colours: list[Colour]) -> Image.Image:
    return _put("RGBA", size, [(*colour, 255) for colour in colours])


def _palette(size: Size, colours: list[Colour]) -> Image.Image:
    places = {colour: place for place, colour in enumerate(_table(colours))}
    image = _put("P", size, [places.get(colour, 0) for colour in colours])
    image.putpalette([number for colour in places for number in colour])
    return image


def _table(colours: list[Colour]) -> list[Colour]:
    """As many as a palette holds; the others are shown as its first."""
    return sorted(set(colours))[:256]


def _inks(size: Size, colours: list[Colour]) -> Image.Image:
    """Without black ink: each ink takes its own light away."""
    return _put("CMYK", size, [(*(255 - number for number in colour), 0) for colour in colours])


def _gray(size: Size, colours: list[Colour]) -> Image.Image:
    return _put("L", size, [colour[0] for colour in colours])


def _gray_opaque(size: Size, colours: list[Colour]) -> Image.Image:
    return _put("LA", size, [(colour[0], 255) for colour in colours])


def _gray_sixteen(size: Size, colours: list[Colour]) -> Image.Image:
    """65535 is white: the PNG specification, section 12.4, widens v of 255 to 257 v."""
    return _put("I;16", size, [colour[0] * 257 for colour in colours])


def _two_levels(size: Size, colours: list[Colour]) -> Image.Image:
    return _put("1", size, [255 * (colour[0] > 127) for colour in colours])


STORED: dict[str, tuple[Callable[[Size, list[Colour]], Image.Image], str]] = {
    "RGB": (_rgb, "PNG"), "RGBA": (_opaque, "PNG"), "P": (_palette, "PNG"), "CMYK": (_inks, "TIFF"),
    "L": (_gray, "PNG"), "LA": (_gray_opaque, "PNG"), "16 bits": (_gray_sixteen, "PNG"), "1": (_two_levels, "PNG"),
}  # fmt: skip
GRAY = ("L", "LA", "16 bits")


def shown(how: str, colours: list[Colour]) -> list[Colour]:
    """What is left of colours that a mode has no room for."""
    if how in GRAY:
        return [(red, red, red) for red, _, _ in colours]
    if how == "P":
        table = _table(colours)
        return [colour if colour in table else table[0] for colour in colours]
    return [(255 * (red > 127),) * 3 for red, _, _ in colours] if how == "1" else colours


def store(how: str, size: Size, colours: list[Colour], orientation: int = 1) -> Stored:
    make, kind = STORED[how]
    data = file_of(make(size, colours), kind, orientation)
    return Stored(how, data, upright(Picture(size, shown(how, colours)), orientation))


def upright(picture: Picture, orientation: int) -> Picture:
    """EXIF 2.3, tag Orientation: where the stored row 0 and column 0 are in the picture as it is to be seen."""
    width, height = picture.size
    rows = [picture.pixels[row * width : (row + 1) * width] for row in range(height)]
    if orientation in (2, 3, 7, 8):
        rows = [row[::-1] for row in rows]
    if orientation in (3, 4, 6, 7):
        rows = rows[::-1]
    if orientation >= 5:
        rows = [list(column) for column in zip(*rows, strict=True)]
    return Picture((len(rows[0]), len(rows)), [pixel for row in rows for pixel in row])


sides = st.one_of(st.integers(1, 6), st.sampled_from([1, 3, 40]))
colour = st.tuples(*[st.integers(0, 255)] * 3)


@st.composite
def stored(draw: st.DrawFn, modes: tuple[str, ...] = tuple(STORED), turned: bool = False) -> Stored:
    """A file of any mode; ``turned``: with any orientation."""
    size = (draw(sides), draw(sides))
    colours = draw(st.lists(colour, min_size=size[0] * size[1], max_size=size[0] * size[1]))
    return store(draw(st.sampled_from(modes)), size, colours, draw(st.integers(1, 8)) if turned else 1)


SEE_THROUGH = file_of(_put("RGBA", (2, 2), [(250, 10, 30, 0), (1, 2, 3, 128), (9, 9, 9, 255), (0, 0, 0, 0)]))
"""Engines differ in what they show behind it; each must show it the same each time."""
