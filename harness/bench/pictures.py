"""A prompt's pictures as opened images. Needs Pillow alone, so that every contestant can open them the same way."""

from __future__ import annotations

import io

from PIL import Image

from harness.observation import Prompt


def open_pictures(prompt: Prompt) -> list[Image.Image]:
    return [Image.open(io.BytesIO(picture.png)).convert("RGB") for picture in prompt.pictures]
