"""Images in: from what a client sends (data URI, base64, bytes, PIL) to a decoded RGB image, or a refusal naming the
field.

Size limits are judged from the header, before any pixel is decoded. Files and URLs are not opened here: what a server
may fetch is the server's decision. Orientation tags are applied and the mode made RGB, as transformers' own loader
does.
"""

from __future__ import annotations

import base64
import binascii
import io
import re
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from reference_engine.errors import RequestError

MAX_PIXELS = 16_777_216
_ORIENTATION = 0x0112  # the EXIF tag
_DATA_URI = re.compile(r"data:(?P<type>[\w.+/-]*)(?:;[\w=.+-]+)*?(?P<base64>;base64)?,", re.ASCII)


def decode_image(
    source: str | bytes | Image.Image, *, field: str = "image_data", max_pixels: int = MAX_PIXELS
) -> Image.Image:
    """The image, RGB and upright. Raises :class:`RequestError`: 400 if unreadable, 413 if it has too many pixels."""
    if isinstance(source, Image.Image):
        return load_image(source, field=field, max_pixels=max_pixels)
    data = base64_bytes(source, field) if isinstance(source, str) else source
    try:
        image = Image.open(io.BytesIO(data))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise RequestError(field, f"the image has more than {max_pixels} pixels", status=413) from None
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, OverflowError) as error:
        raise RequestError(field, f"{len(data)} bytes are not an image that can be read ({_brief(error)})") from None
    return load_image(image, field=field, max_pixels=max_pixels)


def load_image(
    image: Image.Image, *, field: str, max_pixels: int, convert: Callable[[Image.Image], Image.Image] | None = None
) -> Image.Image:
    """Decode a possibly lazy image within the limit. ``convert`` stands for :func:`upright_rgb`."""
    width, height = image.size
    if width * height > max_pixels:
        raise RequestError(field, f"{width}x{height} = {width * height} pixels; at most {max_pixels}", status=413)
    if width == 0 or height == 0:
        raise RequestError(field, f"the image is empty ({width}x{height})")
    try:
        return (convert or upright_rgb)(image)
    except Exception as error:  # decoders raise whatever their format's library raises
        raise RequestError(field, f"the image cannot be decoded ({_brief(error)})") from None


def upright_rgb(image: Image.Image) -> Image.Image:
    """Decoded, turned as its EXIF tag says, RGB. An RGB image that needs no turning is returned as it is."""
    image.load()
    upright = ImageOps.exif_transpose(image) if image.getexif().get(_ORIENTATION, 1) != 1 else image
    if upright.mode.startswith("I;16"):
        upright = _of_eight_bits(upright)
    return upright if upright.mode == "RGB" else upright.convert("RGB")


def _of_eight_bits(image: Image.Image) -> Image.Image:
    """Gray of 16 bits over its whole range; Pillow's own conversion makes everything above 255 white."""
    values = np.asarray(image).astype(np.uint32)
    return Image.fromarray(((values * 255 + 32767) // 65535).astype(np.uint8))


def base64_bytes(text: str, field: str) -> bytes:
    """The bytes of a base64 data URI, or of bare base64."""
    head = _DATA_URI.match(text)
    if head is None and re.match(r"[a-zA-Z][\w+.-]*:", text):
        raise RequestError(
            field, f"{text.split(':', 1)[0]!r} is not a scheme that is read here; send a data URI or base64"
        )
    if head is not None and not head["base64"]:
        raise RequestError(field, "the data URI is not base64")
    try:
        return base64.b64decode(text[head.end() if head else 0 :], validate=True)
    except (binascii.Error, ValueError) as error:
        raise RequestError(field, f"not base64 ({_brief(error)})") from None


def _brief(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error)[:120]}"
