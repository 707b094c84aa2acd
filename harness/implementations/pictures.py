"""Between PIL's images and plain pictures."""

from __future__ import annotations

from typing import cast

from PIL import Image

from harness.implementations.base import Picture


def as_picture(image: Image.Image) -> Picture:
    """Of an RGB image; one of another mode is told by what its pixels are then."""
    return Picture(image.size, cast(list[tuple[int, int, int]], list(image.get_flattened_data())))


def as_image(picture: Picture) -> Image.Image:
    image = Image.new("RGB", picture.size)
    image.putdata(picture.pixels)
    return image
