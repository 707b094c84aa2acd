"""Faults between the bytes of an image and the checkpoint's processor."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image, ImageOps

from reference_engine.errors import RequestError
from reference_engine.faults.catalogue import Fault
from reference_engine.faults.sizes import let_errors_escape
from reference_engine.multimodal import images as clean
from reference_engine.multimodal.family import Family
from reference_engine.multimodal.placeholders import Modality
from reference_engine.multimodal.prompt import Medium
from reference_engine.request import Video

STAYS_UP = "17: any input gives 2xx or 4xx and the server stays up"
PATCH = 14
CHANNELS = 3


def as_stored(image: Image.Image, **options: Any) -> Image.Image:
    """The EXIF orientation is not looked at."""
    return clean.load_image(image, **options, convert=lambda one: one.convert("RGB"))


def in_its_own_mode(image: Image.Image, **options: Any) -> Image.Image:
    """The mode is left as it is."""
    return clean.load_image(image, **options, convert=ImageOps.exif_transpose)


def decode_then_check(image: Image.Image, *, field: str, max_pixels: int) -> Image.Image:
    """The limit is applied to what was decoded already."""
    try:
        image.load()
    except Exception as error:
        raise RequestError(field, f"the image cannot be decoded ({error})") from None
    return clean.load_image(image, field=field, max_pixels=max_pixels)


def guess_channels(medium: Medium) -> Image.Image | Video:
    """The first axis of one or three entries is taken for the channels."""
    image = medium.item
    if isinstance(image, Video) or image.height not in (1, 3):
        return image
    guessed = np.asarray(image).transpose(1, 2, 0)
    return Image.fromarray(np.ascontiguousarray(np.broadcast_to(guessed[..., :1], (*guessed.shape[:2], 3))))


def blank_if_small(medium: Medium) -> Image.Image | Video:
    """An image without a whole patch is accepted, and nothing of it is seen."""
    image = medium.item
    return image if isinstance(image, Video) or min(image.size) >= PATCH else Image.new("RGB", image.size)


def resampled(medium: Medium) -> Image.Image | Video:
    """As another implementation of the same processor would make it: nearly the same pixels."""
    image = medium.item
    return image if isinstance(image, Video) else image.point([value & ~3 for value in range(256)] * 3)


def channels_as_they_are(medium: Medium) -> Image.Image | Video:
    """The encoder's first product is made for three channels, whatever comes."""
    image = medium.item
    if isinstance(image, Image.Image) and len(image.getbands()) != CHANNELS:
        raise RuntimeError(f"the patches have {len(image.getbands())} channels, the encoder takes {CHANNELS}")
    return image


def everything_is_served(family: Family, modality: Modality) -> bool:
    return True


FAULTS = (
    Fault(
        "F1-05", "PaddleX#5087 (and vllm#8954)", "the processor takes a side of 1 or 3 pixels for the channel axis",
        "1: text-side count == encoder rows, for every size", {"to_processor": guess_channels},
        "an image 1 or 3 pixels high",
    ),
    Fault(
        "F7-01", "sglang#33464", "the EXIF orientation is not applied",
        "17: any input gives what transformers' own loader makes of it, or 4xx", {"load_image": as_stored},
        "an image has an orientation tag",
    ),
    Fault(
        "F7-03", "sglang#26751", "images are not converted to RGB, and the encoder ends the call", STAYS_UP,
        {"load_image": in_its_own_mode, "to_processor": channels_as_they_are},
        "an image is gray, has a palette, or alpha", analogue=True,
    ),
    Fault(
        "F7-09", "Rapid-MLX#739", "an image smaller than a patch is answered without a look at it",
        "3: rows are never made up; an image that cannot be seen is an error", {"to_processor": blank_if_small},
        f"a side is shorter than {PATCH} pixels", analogue=True,
    ),
    Fault(
        "F7-12", "vllm#19789", "another processor than the checkpoint's makes nearly the same pixels",
        "4: what is run is what the checkpoint's own processor makes", {"to_processor": resampled},
        "the request has an image", analogue=True,
    ),
    Fault(
        "F9-13", "sglang#28587", "the limit on pixels is applied after an image is decoded", STAYS_UP,
        {"load_image": decode_then_check}, "a small file says that it has very many pixels",
    ),
    Fault(
        "F9-17", "llama.cpp#23331", "an image for a model of text alone is laid out before anybody looks", STAYS_UP,
        {"is_served": everything_is_served, "lay_out": let_errors_escape}, "an image is sent to a model of text",
        families="text", analogue=True,
        hidden="the server turns pictures for such a model away itself, before the engine is asked",
    ),
)  # fmt: skip
