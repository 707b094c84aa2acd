"""Sequences to train the language model on: images drawn from a pool, questions about them packed behind.

Several questions share one set of images, each blind to the others or, in a quarter of the sequences, following each
other as turns. Words are sometimes spelled with two tokens where one would do.

Shapes: B sequences, T tokens, R image rows, D hidden.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reference_engine.sentinels.tasks import (
    COLOURS,
    QUESTIONS,
    GridImage,
    Limits,
    choose_kind,
    choose_shapes,
    filler,
)
from reference_engine.sentinels.training.tower import code_book

if TYPE_CHECKING:
    from transformers import Qwen2Tokenizer

IGNORED = -100
NOWHERE = (IGNORED, IGNORED, IGNORED)


@dataclass
class EncodedImage:
    image: GridImage
    rows: Tensor
    """float32 [cells, D]"""


class IdealPool:
    """Images that exist only as codes: what a perfect tower would emit, plus noise of standard deviation ``noise``."""

    def __init__(self, noise: float = 0.02) -> None:
        self._digit_codes, self._colour_codes = (codes.numpy() for codes in code_book())
        self._noise = noise

    def draw(self, rng: np.random.Generator, shape: tuple[int, int]) -> EncodedImage:
        digits, colours = rng.integers(10, size=shape), rng.integers(len(COLOURS), size=shape)
        rows = self._digit_codes[digits.ravel()] + self._colour_codes[colours.ravel()]
        rows = rows + rng.normal(0, self._noise, size=rows.shape)
        return EncodedImage(GridImage(digits, colours, np.empty((0, 0, 3), np.uint8)), torch.from_numpy(rows).float())


class Words:
    """Tokens of short texts, some of them spelled with two tokens where one would do."""

    def __init__(self, tokenizer: Qwen2Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._vocabulary: dict[str, int] = tokenizer.get_vocab()
        self._spelling = {index: token for token, index in self._vocabulary.items()}
        self.special = {t: int(tokenizer.convert_tokens_to_ids(t)) for t in tokenizer.all_special_tokens}
        for name in ("<|im_start|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>"):
            self.special[name] = int(tokenizer.convert_tokens_to_ids(name))
        self.canonical = lru_cache(maxsize=100_000)(self._encode)

    def _encode(self, text: str) -> tuple[int, ...]:
        return tuple(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    def spell(self, rng: np.random.Generator, text: str, split_share: float) -> list[int]:
        ids: list[int] = []
        for index in self.canonical(text):
            token = self._spelling[index]
            if len(token) > 1 and rng.random() < split_share:
                ids.extend(self._split(rng, token, index))
            else:
                ids.append(index)
        return ids

    def _split(self, rng: np.random.Generator, token: str, index: int) -> list[int]:
        halves = [(token[:i], token[i:]) for i in range(1, len(token))]
        known = [
            [self._vocabulary[a], self._vocabulary[b]]
            for a, b in halves
            if a in self._vocabulary and b in self._vocabulary
        ]
        return known[int(rng.integers(len(known)))] if known else [index]


@dataclass
class Sequence:
    """Questions packed on one set of images. Lists are a token each; ``positions`` int64 [3, T]."""

    ids: list[int] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    sources: list[tuple[int, int, int]] = field(default_factory=list)
    """(image, row, column) that the NEXT token is read from, or NOWHERE."""
    segment: list[int] = field(default_factory=list)
    """0 for what all questions see, k for the k-th question."""
    positions: list[NDArray[np.int64]] = field(default_factory=list)
    images: list[EncodedImage] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)
    turns: bool = False

    def add(self, ids: list[int], segment: int, positions: NDArray[np.int64], *, answer: bool = False) -> None:
        self.ids += ids
        self.labels += ids if answer else [IGNORED] * len(ids)
        self.sources += [NOWHERE] * len(ids)
        self.segment += [segment] * len(ids)
        self.positions.append(positions)


@dataclass(frozen=True)
class Stage:
    limits: Limits
    length: int
    batch: int
    filler_share: float
    split_share: float
    until: float
    """Share of the training after which the next stage begins, if it has not begun because this one was mastered."""


STAGES = (
    Stage(Limits(max_images=2, max_side=3, max_cells=12), 130, 20, 0.0, 0.0, 0.3),
    Stage(Limits(max_images=3, max_side=4, max_cells=26), 210, 16, 0.2, 0.05, 0.5),
    Stage(Limits(), 270, 14, 0.3, 0.1, 1.0),
)


def _ramp(start: int, count: int) -> NDArray[np.int64]:
    return np.tile(np.arange(start, start + count), (3, 1))


def _image_positions(start: int, shape: tuple[int, int]) -> NDArray[np.int64]:
    rows, columns = np.indices(shape).reshape(2, -1)
    return np.stack([np.full_like(rows, start), start + rows, start + columns])


def pack(rng: np.random.Generator, words: Words, pool: IdealPool, stage: Stage) -> Sequence:
    """A prompt's images, then as many questions as fit into ``stage.length`` tokens."""
    special, out = words.special, Sequence(turns=rng.random() < 0.25)
    out.images = [pool.draw(rng, shape) for shape in choose_shapes(rng, stage.limits)]
    at = 0

    def say(ids: list[int], segment: int = 0, *, answer: bool = False) -> None:
        nonlocal at
        out.add(ids, segment, _ramp(at, len(ids)), answer=answer)
        at += len(ids)

    def newline() -> list[int]:
        return list(words.canonical("\n"))

    def spelled(low: int, high: int) -> list[int]:
        return words.spell(rng, filler(rng, low, high), stage.split_share)

    if rng.random() < stage.filler_share:
        say([special["<|im_start|>"], *words.canonical("system\n"), *spelled(1, 20), special["<|im_end|>"], *newline()])
    say([special["<|im_start|>"], *words.canonical("user\n")])
    for encoded in out.images:
        if rng.random() < stage.filler_share / 2:
            say(spelled(1, 6))
        say([special["<|vision_start|>"]])
        out.add([special["<|image_pad|>"]] * encoded.image.cells, 0, _image_positions(at, encoded.image.shape))
        at += max(encoded.image.shape)
        say([special["<|vision_end|>"]])
    questions_from, misfits = at, 0
    while misfits < 3:
        kind = choose_kind(rng)
        question = QUESTIONS[kind][0](rng, [e.image for e in out.images])
        before = [special["<|im_start|>"], *words.canonical("user\n")] if out.turns and out.kinds else []
        if rng.random() < stage.filler_share / 2:
            before += [*spelled(1, 5), *newline()]
        asked = [
            *before,
            *words.spell(rng, question.question, stage.split_share / 4),
            special["<|im_end|>"],
            *newline(),
        ]
        asked += [special["<|im_start|>"], *words.canonical("assistant\n")]
        answered = [*words.canonical(question.answer), special["<|im_end|>"]]
        if len(out.ids) + len(asked) + len(answered) + 1 > stage.length:
            misfits += 1
            if not out.kinds and misfits == 3:
                raise ValueError(f"no question fits into {stage.length} tokens")
            continue
        out.kinds.append(kind)
        at = at if out.turns else questions_from
        say(asked, len(out.kinds))
        read_from = len(out.ids) - 1
        say(answered, len(out.kinds), answer=True)
        out.sources[read_from : read_from + len(question.cells)] = question.cells
        if out.turns:
            say(newline(), len(out.kinds))
    return out


@dataclass
class Batch:
    ids_BT: Tensor
    labels_BT: Tensor
    segment_BT: Tensor
    positions_3BT: Tensor
    mask_B1TT: Tensor
    rows_RD: Tensor
    place_R3: Tensor
    """image, row and column of every image row"""
    sources_BT3: Tensor
    """image, row and column that the next token is read from, or IGNORED"""
    kinds: list[list[str]]


def collate(sequences: list[Sequence], padding: int) -> Batch:
    longest = max(len(s.ids) for s in sequences)
    count = len(sequences)
    ids, labels = torch.full((count, longest), padding), torch.full((count, longest), IGNORED)
    sources = torch.full((count, longest, 3), IGNORED)
    segment, positions = torch.full((count, longest), -1), torch.zeros((3, count, longest), dtype=torch.long)
    for b, s in enumerate(sequences):
        n = len(s.ids)
        ids[b, :n], labels[b, :n] = torch.tensor(s.ids), torch.tensor(s.labels)
        segment[b, :n] = torch.tensor(s.segment)
        sources[b, :n] = torch.tensor(s.sources)
        positions[:, b, :n] = torch.from_numpy(np.concatenate(s.positions, 1))
    turns = torch.tensor([s.turns for s in sequences])[:, None, None]
    seen = (segment[:, None, :] == 0) | (segment[:, :, None] == segment[:, None, :]) | turns
    seen &= torch.ones(longest, longest, dtype=torch.bool).tril()
    seen |= torch.eye(longest, dtype=torch.bool)
    images = [(k, e) for s in sequences for k, e in enumerate(s.images)]
    place = [np.stack([np.full(e.image.cells, k), *np.indices(e.image.shape).reshape(2, -1)], 1) for k, e in images]
    return Batch(
        ids, labels, segment, positions, seen[:, None], torch.cat([e.rows for _, e in images]),
        torch.from_numpy(np.concatenate(place)), sources, [s.kinds for s in sequences],
    )  # fmt: skip
