"""Chat prompts as token ids with one placeholder a picture, in Qwen2-VL's template."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from harness.observation import Picture, Prompt
from harness.vocabulary import Vocabulary

IMAGE = "<|vision_start|><|image_pad|><|vision_end|>"


@dataclass(frozen=True)
class Question:
    """Pictures, what is asked about them, and the right answer."""

    images: Sequence[Image.Image]
    question: str
    answer: str


def chat_text(images: int, question: str, system: str | None = None) -> str:
    """A prompt as text, up to where the answer begins."""
    opening = "" if system is None else f"<|im_start|>system\n{system}<|im_end|>\n"
    return f"{opening}<|im_start|>user\n{IMAGE * images}{question}<|im_end|>\n<|im_start|>assistant\n"


def chat_prompt(vocabulary: Vocabulary, name: str, asked: Question, system: str | None = None) -> Prompt:
    """A canonical prompt: its ids are what tokenizing its text gives."""
    ids = vocabulary.encode(chat_text(len(asked.images), asked.question, system))
    pictures = tuple(Picture.of(image) for image in asked.images)
    return Prompt(name, tuple(ids), pictures, asked.question, asked.answer)
