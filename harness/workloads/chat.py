"""Chat prompts as token ids with one placeholder a picture, as a model's chat template writes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from harness.observation import Picture, Prompt
from harness.vocabulary import Vocabulary

if TYPE_CHECKING:
    from reference_engine.sentinels.architectures.base import Architecture


@dataclass(frozen=True)
class Markup:
    """What a model's template is made of; the default is Qwen2-VL's."""

    image: str = "<|vision_start|><|image_pad|><|vision_end|>"
    placeholder: str = "<|image_pad|>"
    turn_end: str = "<|im_end|>"
    architecture: Architecture | None = None
    """The sentinel's, if the model is one: what it was trained to be asked."""

    @property
    def owns_spans(self) -> bool:
        """Whether the model itself cuts a picture into several spans."""
        return self.architecture is not None and "spans" in self.architecture.traits

    def written(self, vocabulary: Vocabulary, picture: Picture) -> tuple[int, ...]:
        """The ids that a picture's placeholder becomes, in models that write more than rows; else none."""
        from reference_engine.sentinels.tasks import CELL

        if self.architecture is None or not self.owns_spans:
            return ()
        return tuple(vocabulary.encode(self.architecture.image_text((picture.height // CELL, picture.width // CELL))))


QWEN = Markup()


def markup_of(checkpoint: Path) -> Markup:
    """That of a sentinel's architecture; Qwen2-VL's for any other model."""
    from reference_engine.errors import ConfigError
    from reference_engine.sentinels.architectures import architecture_of

    try:
        found = architecture_of(checkpoint)
    except ConfigError:
        return QWEN
    return Markup(found.markup, found.placeholder, found.turn_end, found)


@dataclass(frozen=True)
class Question:
    """Pictures, what is asked about them, and the right answer."""

    images: Sequence[Image.Image]
    question: str
    answer: str


def chat_text(images: int, question: str, system: str | None = None, markup: Markup = QWEN) -> str:
    """A prompt as text, up to where the answer begins."""
    end = markup.turn_end
    opening = "" if system is None else f"<|im_start|>system\n{system}{end}\n"
    return f"{opening}<|im_start|>user\n{markup.image * images}{question}{end}\n<|im_start|>assistant\n"


def chat_prompt(
    vocabulary: Vocabulary, name: str, asked: Question, system: str | None = None, markup: Markup = QWEN
) -> Prompt:
    """A canonical prompt: its ids are what tokenizing its text gives."""
    ids = vocabulary.encode(chat_text(len(asked.images), asked.question, system, markup))
    pictures = tuple(Picture.of(image) for image in asked.images)
    prompt = Prompt(name, tuple(ids), pictures, asked.question, asked.answer)
    if not markup.owns_spans:
        return prompt
    written = tuple(markup.written(vocabulary, picture) for picture in pictures)
    placeholder = vocabulary.special(markup.placeholder)
    spans = tuple(sum(token == placeholder for token, _ in groupby(ids)) for ids in written)
    return replace(prompt, written=written, spans_per_item=spans)
