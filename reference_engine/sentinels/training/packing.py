"""Sequences to train the language model on: images drawn from a pool, questions about them packed behind.

Several questions share one set of images, each blind to the others or, in a quarter of the sequences, following each
other as turns. Words are sometimes spelled with two tokens where one would do.

Shapes: B sequences, T tokens, R image rows, K levels, D hidden.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reference_engine.sentinels.architectures.base import IGNORED, Architecture
from reference_engine.sentinels.tasks import QUESTIONS, GridImage, choose_kind, choose_shapes, draw_content, filler

if TYPE_CHECKING:
    from transformers import Qwen2Tokenizer


@dataclass
class EncodedImage:
    image: GridImage
    rows: Tensor
    """float32 [R, K, D]"""


class IdealPool:
    """Images that exist only as codes: what a perfect tower would emit, plus noise of standard deviation ``noise``."""

    def __init__(self, architecture: Architecture, noise: float = 0.02) -> None:
        self._architecture, self._noise = architecture, noise

    def draw(self, rng: np.random.Generator, shape: tuple[int, int]) -> EncodedImage:
        digits, colours = draw_content(rng, shape, self._architecture.limits)
        image = GridImage(digits, colours, np.empty((0, 0, 3), np.uint8))
        rows = self._architecture.codes(self._architecture.labels(image)).numpy()
        rows = rows + rng.normal(0, self._noise, size=rows.shape)
        return EncodedImage(image, torch.from_numpy(rows).float())


class Words:
    """Tokens of short texts, some of them spelled with two tokens where one would do."""

    def __init__(self, tokenizer: Qwen2Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._vocabulary: dict[str, int] = tokenizer.get_vocab()
        self._spelling = {index: token for token, index in self._vocabulary.items()}
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
    sources: dict[int, list[int]] = field(default_factory=dict)
    """Of a token whose NEXT is read from a cell: that cell's image, row and column, and what the row read tells."""
    segment: list[int] = field(default_factory=list)
    """0 for what all questions see, k for the k-th question."""
    positions: list[NDArray[np.int64]] = field(default_factory=list)
    images: list[EncodedImage] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)
    turns: bool = False

    def add(self, ids: list[int], segment: int, positions: NDArray[np.int64], *, answer: bool = False) -> None:
        self.ids += ids
        self.labels += ids if answer else [IGNORED] * len(ids)
        self.segment += [segment] * len(ids)
        self.positions.append(positions)


@dataclass(frozen=True)
class Stage:
    length: int
    filler_share: float
    split_share: float
    until: float
    """Share of the training after which the next stage begins, if it has not begun because this one was mastered."""


STAGES = (
    Stage(130, 0.0, 0.0, 0.3),
    Stage(210, 0.2, 0.05, 0.5),
    Stage(270, 0.3, 0.1, 1.0),
)
"""Beside the architecture's curriculum, which says how large the images are, and its batches."""


def _ramp(start: int, count: int) -> NDArray[np.int64]:
    return np.tile(np.arange(start, start + count), (3, 1))


def pack(rng: np.random.Generator, words: Words, pool: IdealPool, architecture: Architecture, level: int) -> Sequence:
    """A prompt's images, then as many questions as fit into the length of stage ``level``."""
    stage, out = STAGES[level], Sequence(turns=rng.random() < 0.25)
    out.images = [pool.draw(rng, shape) for shape in choose_shapes(rng, architecture.curriculum[level])]
    start, end = list(words.canonical("<|im_start|>")), list(words.canonical(architecture.turn_end))
    (placeholder,) = words.canonical(architecture.placeholder)
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
        say([*start, *words.canonical("system\n"), *spelled(1, 20), *end, *newline()])
    say([*start, *words.canonical("user\n")])
    for encoded in out.images:
        if rng.random() < stage.filler_share / 2:
            say(spelled(1, 6))
        ids = list(words.canonical(architecture.image_text(encoded.image.shape)))
        positions = at + architecture.positions(np.array(ids) == placeholder, [encoded.image.shape])
        out.add(ids, 0, positions)
        at = int(positions.max()) + 1
    questions_from, misfits = at, 0
    while misfits < 3:
        kind = choose_kind(rng, architecture.kinds)
        question = QUESTIONS[kind][0](rng, [e.image for e in out.images])
        before = [*start, *words.canonical("user\n")] if out.turns and out.kinds else []
        if rng.random() < stage.filler_share / 2:
            before += [*spelled(1, 5), *newline()]
        asked = [
            *before,
            *words.spell(rng, question.question, stage.split_share / 4),
            *end,
            *newline(),
        ]
        asked += [*start, *words.canonical("assistant\n")]
        answered = [*words.canonical(question.answer), *end]
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
        for token, (image, *cell) in enumerate(question.cells, read_from):
            shown = out.images[image].image
            told = architecture.labels(shown)[architecture.row_read(shown.shape, (cell[0], cell[1]), kind)]
            out.sources[token] = [image, *cell, *told.tolist()]
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
    rows_RKD: Tensor
    place_R3: Tensor
    """image, row and column of every image row; the last two IGNORED for a row that shows several cells"""
    says_BT: Tensor
    """whether the next token is read from a cell"""
    sources_SN: Tensor
    """image, row, column and attributes read, of the S tokens of ``says_BT``"""
    kinds: list[list[str]]


def collate(architecture: Architecture, sequences: list[Sequence], padding: int) -> Batch:
    longest = max(len(s.ids) for s in sequences)
    count = len(sequences)
    ids, labels = torch.full((count, longest), padding), torch.full((count, longest), IGNORED)
    says = torch.zeros((count, longest), dtype=torch.bool)
    segment, positions = torch.full((count, longest), -1), torch.zeros((3, count, longest), dtype=torch.long)
    for b, s in enumerate(sequences):
        n = len(s.ids)
        ids[b, :n], labels[b, :n] = torch.tensor(s.ids), torch.tensor(s.labels)
        segment[b, :n] = torch.tensor(s.segment)
        says[b, list(s.sources)] = True
        positions[:, b, :n] = torch.from_numpy(np.concatenate(s.positions, 1))
    turns = torch.tensor([s.turns for s in sequences])[:, None, None]
    seen = (segment[:, None, :] == 0) | (segment[:, :, None] == segment[:, None, :]) | turns
    seen &= torch.ones(longest, longest, dtype=torch.bool).tril()
    seen |= torch.eye(longest, dtype=torch.bool)
    sources = torch.tensor([s.sources[token] for s in sequences for token in sorted(s.sources)])
    images = [(k, e) for s in sequences for k, e in enumerate(s.images)]
    place = [np.concatenate([np.full((len(e.rows), 1), k), architecture.cells(e.image.shape)], 1) for k, e in images]
    return Batch(
        ids, labels, segment, positions, seen[:, None], torch.cat([e.rows for _, e in images]),
        torch.from_numpy(np.concatenate(place)), says, sources, [s.kinds for s in sequences],
    )  # fmt: skip
