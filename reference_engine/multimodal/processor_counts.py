"""How many tokens an image is, asked of a checkpoint's own processor: a second authority beside a family's layout.

Two conventions are known: transformers' ``_get_num_multimodal_tokens``, from sizes, and Kimi's
``media_tokens_calculator``, from a medium (sglang#26555 needs both). Where neither is there, or it fails, nothing is
guessed: the reason is logged and given, and the family's own count stands.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from PIL import Image

from reference_engine.multimodal.placeholders import Size

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Counted:
    """Tokens of each image, or None and why not."""

    tokens: list[int] | None
    how: str


def count_by_processor(processor: Any, sizes: Sequence[Size]) -> Counted:
    """``processor`` is transformers' or a checkpoint's own object; sizes are (width, height)."""
    found = _convention(processor)
    if found is None:
        return _not_counted(f"{type(processor).__name__} has neither convention of counting")
    name, count = found
    try:
        return Counted([int(tokens) for tokens in count(sizes)], name)
    except Exception as error:  # processors raise whatever their authors raise
        return _not_counted(f"{name} of {type(processor).__name__} failed: {type(error).__name__}: {error}")


def _convention(processor: Any) -> tuple[str, Callable[[Sequence[Size]], list[int]]] | None:
    if hasattr(processor, "_get_num_multimodal_tokens"):
        ask = processor._get_num_multimodal_tokens
        return "_get_num_multimodal_tokens", lambda sizes: ask(image_sizes=[(h, w) for w, h in sizes])[
            "num_image_tokens"
        ]
    for owner in (processor, *(getattr(processor, name, None) for name in ("media_processor", "image_processor"))):
        if hasattr(owner, "media_tokens_calculator"):
            return "media_tokens_calculator", partial(_each, owner.media_tokens_calculator)
    return None


def _each(calculate: Callable[[dict[str, Any]], int], sizes: Sequence[Size]) -> list[int]:
    return [calculate(_medium(size)) for size in sizes]


def _medium(size: Size) -> dict[str, Any]:
    """An image of which only the size is looked at: one bit a pixel."""
    return {"type": "image", "image": Image.new("1", size)}


def _not_counted(why: str) -> Counted:
    logger.warning("counting by the processor: %s; the family's own count stands", why)
    return Counted(None, why)
