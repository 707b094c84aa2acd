"""Images as clients send them, read within a call's limits: see :mod:`sources` for where their bytes may come from.

Bytes become an RGB image, upright: EXIF orientation is applied and the mode converted as transformers' ``load_image``
does (so does vLLM since #44974; SGLang leaves the orientation, #33464). Transparency is dropped, not blended. Only
formats that need no other program are read, and size limits are judged from the header, before any pixel is decoded.
"""

from __future__ import annotations

import io
from collections.abc import Callable

from PIL import Image, UnidentifiedImageError

from reference_engine.config import EngineConfig
from reference_engine.errors import RequestError
from reference_engine.multimodal.images import load_image
from reference_engine.server.limits import Limits
from reference_engine.server.sources import Sources

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")


class Pictures:
    """Reads the images and frames of one call. All of them together may have so many pixels, too."""

    def __init__(
        self, config: EngineConfig, limits: Limits | None = None, load: Callable[..., Image.Image] = load_image,
        sources: Callable[[Limits], Sources] = Sources,
    ) -> None:  # fmt: skip
        self.config = config
        limits = limits or Limits()
        self._sources = sources(limits)
        self._load = load
        self._most = self._left = limits.max_megapixels * 1_000_000

    def read(self, source: str, field: str) -> Image.Image:
        """The image, RGB and upright. Raises :class:`RequestError`: 400 if unreadable, 413 if it is too large."""
        return self.decoded(self.opened(source, field), field)

    def opened(self, source: str, field: str, formats: tuple[str, ...] = FORMATS) -> Image.Image:
        """The image by its header: no pixel is decoded, and no limit judged but Pillow's own against bombs."""
        data = self._sources.read(source, field)
        try:
            return Image.open(io.BytesIO(data), formats=formats)
        except (Image.DecompressionBombError, Image.DecompressionBombWarning):
            most = self.config.max_image_pixels
            raise RequestError(field, f"the image has more than {most} pixels", status=413) from None
        except Exception as error:  # readers raise whatever their format's library raises
            why = "unknown or damaged" if isinstance(error, UnidentifiedImageError) else type(error).__name__
            raise RequestError(field, f"{len(data)} bytes are not an image of {', '.join(formats)} ({why})") from None

    def decoded(self, image: Image.Image, field: str) -> Image.Image:
        self.check(image, field)
        self._left -= image.width * image.height
        return self._load(image, field=field, max_pixels=self.config.max_image_pixels)

    def check(self, image: Image.Image, field: str) -> None:
        """By its header. Its own size is judged where it is loaded, too; that many pictures add up only here."""
        pixels, most = image.width * image.height, self.config.max_image_pixels
        if pixels <= most and pixels > self._left:
            raise RequestError(field, f"the pictures of this call have more than {self._most} pixels", status=413)
