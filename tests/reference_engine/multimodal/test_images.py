"""What is read as an image, and how everything else is refused."""

from __future__ import annotations

import base64
import io

import pytest
from PIL import Image

from reference_engine.errors import RequestError
from reference_engine.multimodal.images import decode_image


def encoded(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


PICTURE = Image.new("RGB", (5, 3), (10, 20, 30))
PNG = encoded(PICTURE)
BASE64 = base64.b64encode(PNG).decode()


@pytest.mark.parametrize(
    "source",
    [
        PNG,
        BASE64,
        f"data:image/png;base64,{BASE64}",
        f"data:;base64,{BASE64}",
        f"data:image/png;name=a.png;base64,{BASE64}",
        PICTURE,
    ],
)
def test_what_is_read(source: str | bytes | Image.Image) -> None:
    image = decode_image(source)
    assert (image.mode, image.size, image.getpixel((4, 2))) == ("RGB", (5, 3), (10, 20, 30))


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (b"", "0 bytes are not an image"),
        (b"GIF89a", "not an image"),
        (PNG[:40], "image"),
        (encoded(Image.new("RGB", (200, 200)), "JPEG")[:-60], "cannot be decoded"),
        ("not base64!", "not base64"),
        ("data:image/png,abc", "not base64"),
        ("http://example.org/a.png", "'http' is not a scheme"),
        ("file:///etc/passwd", "'file' is not a scheme"),
    ],
)
def test_what_is_not(source: str | bytes, words: str) -> None:
    with pytest.raises(RequestError) as caught:
        decode_image(source, field="image_data[2]")
    assert (caught.value.field, caught.value.status) == ("image_data[2]", 400)
    assert words in caught.value.message
    assert len(caught.value.message) < 300


def test_pixels_are_counted_before_decoding() -> None:
    huge = encoded(Image.new("1", (20_000, 20_000)), "PNG")
    for source, limit in ((huge, 1 << 24), (PNG, 14)):
        with pytest.raises(RequestError) as caught:
            decode_image(source, max_pixels=limit)
        assert caught.value.status == 413
        assert str(limit) in caught.value.message


def test_orientation_tags_and_modes() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    assert decode_image(encoded(PICTURE, "JPEG", exif=exif)).size == (3, 5)
    for mode in ("L", "P", "RGBA", "1", "CMYK", "I;16", "LA"):
        assert decode_image(Image.new(mode, (4, 4))).mode == "RGB"
