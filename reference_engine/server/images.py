"""Images as clients send them: a base64 data URI, or bare base64. URLs are not fetched and files are not opened.

Bytes become an RGB image, upright: EXIF orientation is applied and the mode converted as transformers' ``load_image``
does (so does vLLM since #44974; SGLang leaves the orientation, #33464). Transparency is dropped, not blended. Only
formats that need no other program are read, and the size limit is judged from the header, before any pixel is decoded.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence

from PIL import Image, UnidentifiedImageError

from reference_engine.errors import RequestError
from reference_engine.multimodal.images import base64_bytes, load_image

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
_URL = re.compile(r"(?P<scheme>https?|ftp|s3|gs):", re.IGNORECASE)
_PATH = re.compile(r"(file:|~|\.{0,2}[/\\]|[a-z]:[/\\]|[\w. -]+([/\\][\w. -]+)*\.\w{2,5}$)", re.IGNORECASE)
LONGEST_PATH = 1024


def read_images(
    sources: Sequence[str], *, fields: Sequence[str], max_pixels: int, load: Callable[..., Image.Image] = load_image
) -> list[Image.Image]:
    """Every image, or the refusal of the first that cannot be read, naming its field."""
    pairs = zip(sources, fields, strict=True)
    return [read_image(source, field=field, max_pixels=max_pixels, load=load) for source, field in pairs]


def read_image(
    source: str, *, field: str, max_pixels: int, load: Callable[..., Image.Image] = load_image
) -> Image.Image:
    url = _URL.match(source)
    if url is not None:
        raise RequestError(field, f"{url['scheme'].lower()} URLs are not fetched; send a data URI or base64")
    try:
        image = open_image(base64_bytes(source, field), field, max_pixels)
        return load(image, field=field, max_pixels=max_pixels)
    except RequestError as error:
        if error.status == 400 and len(source) <= LONGEST_PATH and _PATH.match(source):
            raise RequestError(field, "files are not opened for clients; send a data URI or base64") from None
        raise


def open_image(data: bytes, field: str, max_pixels: int, formats: tuple[str, ...] = FORMATS) -> Image.Image:
    """The image by its header: no pixel is decoded, and no limit judged but Pillow's own against bombs."""
    try:
        return Image.open(io.BytesIO(data), formats=formats)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise RequestError(field, f"the image has more than {max_pixels} pixels", status=413) from None
    except Exception as error:  # readers raise whatever their format's library raises
        why = "unknown or damaged" if isinstance(error, UnidentifiedImageError) else type(error).__name__
        raise RequestError(field, f"{len(data)} bytes are not an image of {', '.join(formats)} ({why})") from None
