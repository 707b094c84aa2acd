"""The requests of the benchmark, from a seed: what is asked, how many tokens are wanted, when each one arrives.

Lengths are ragged unless a workload is even: with ``mean_new_tokens`` an answer may end at every token with one chance
(geometric lengths, which deviate from their mean by as much as that mean, about as those of published traces of chat
services do); without it all lengths of a range are equally likely. ``load`` is the arrival rate over the rate at which
the reference engine ends the same requests when all are there from the start, so that above 1 there is always work; 0
means all at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator

from harness.observation import Prompt
from harness.vocabulary import Vocabulary
from harness.workloads.chat import Question, chat_prompt

SEED = 0


@dataclass(frozen=True)
class Workload:
    """How requests are drawn. Ranges are inclusive at both ends."""

    requests: int
    new_tokens: tuple[int, int]
    mean_new_tokens: float | None = None
    """Of geometric lengths, before they are cut to the range; None: uniform."""
    images: tuple[int, int] = (0, 0)
    """Images of one request."""
    cells: tuple[int, int] = (1, 5)
    """Rows and columns of an image, in cells of 28 pixels: one token each."""
    words: tuple[int, int] = (4, 24)
    """Words of the text."""
    load: float = 0.0

    def prompts(self, vocabulary: Vocabulary, share: float = 1.0) -> list[Prompt]:
        """``share`` of the requests, the same first ones whatever the share."""
        rng = np.random.default_rng(SEED)
        made = [self._prompt(rng, vocabulary, f"r{number:04d}") for number in range(self.requests)]
        return made[: max(2, round(share * self.requests))]

    def _prompt(self, rng: Generator, vocabulary: Vocabulary, name: str) -> Prompt:
        asked = chat_prompt(vocabulary, name, self._question(rng))
        return replace(asked, max_new_tokens=self._length(rng), ignore_eos=True)

    def _length(self, rng: Generator) -> int:
        if self.mean_new_tokens is None:
            return _draw(rng, self.new_tokens)
        return int(np.clip(rng.geometric(1 / self.mean_new_tokens), *self.new_tokens))

    def _question(self, rng: Generator) -> Question:
        from reference_engine.sentinels.digits import shared_bank
        from reference_engine.sentinels.tasks import CELL, WORDS, Limits, make_image

        shapes = [(_draw(rng, self.cells), _draw(rng, self.cells)) for _ in range(_draw(rng, self.images))]
        images = [
            make_image(rng, shared_bank("test", CELL), shape, Limits(large_digits=0.0)).to_pil() for shape in shapes
        ]
        words = [WORDS[int(i)] for i in rng.integers(len(WORDS), size=_draw(rng, self.words))]
        asked = f"image{_draw(rng, (1, len(images)))} row1 read" if images else ""
        return Question(images, " ".join([*words, asked]).strip(), "")

    def describe(self) -> str:
        """One line for the table."""
        text = f"{self.requests} requests, {_span(self.words)} words, {_span(self.new_tokens)} new tokens"
        if self.mean_new_tokens is not None:
            text += f" (geometric, mean {self.mean_new_tokens:g})"
        if self.images != (0, 0):
            text += f", {_span(self.images)} images of {_span(self.cells)} by {_span(self.cells)} tokens"
        return text


def arrivals(count: int, rate: float) -> list[float]:
    """A Poisson process: seconds of each arrival, the first at 0. ``rate`` in requests a second; 0: all at once."""
    if rate <= 0:
        return [0.0] * count
    gaps = np.random.default_rng(SEED).exponential(1 / rate, size=count)
    return [float(at) for at in np.cumsum(gaps) - gaps[0]]


def repeated(prompts: Sequence[Prompt], times: int) -> list[Prompt]:
    """The same requests again under other names."""
    return [replace(prompt, name=f"{prompt.name}.{turn}") for turn in range(times) for prompt in prompts]


def _draw(rng: Generator, bounds: tuple[int, int]) -> int:
    return int(rng.integers(bounds[0], bounds[1] + 1))


def _span(bounds: tuple[int, int]) -> str:
    low, high = bounds
    return str(low) if low == high else f"{low} to {high}"
