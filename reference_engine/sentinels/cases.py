"""Prompts taken apart, so that one thing at a time can be put wrong: ids, positions, rows and spans of single
questions.

Everything here is computed with transformers' model classes alone. The reference engine is judged elsewhere; a sentinel
must not be measured with the engine whose faults it is there to find.

Shapes: R rows, K levels (the rows themselves, then one a deepstack layer), D hidden, T tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reference_engine.sentinels.architectures.base import Architecture
from reference_engine.sentinels.digits import shared_bank
from reference_engine.sentinels.tasks import CELL, QUESTIONS, GridImage, choose_kind, choose_shapes, make_image

if TYPE_CHECKING:
    from transformers import Qwen2Tokenizer


@dataclass(frozen=True)
class Case:
    """One question with its answer appended. ``positions`` int64 [3, T]; ``rows`` float32 [R, K, D], all images in
    order."""

    images: list[GridImage]
    kind: str
    ids: NDArray[np.int64]
    prompt_length: int
    spans: list[list[tuple[int, int]]]
    """Of each image: where in ``ids`` each run of its placeholders begins, and its length."""
    positions: NDArray[np.int64]
    rows: Tensor = field(default_factory=lambda: torch.empty(0))

    @property
    def shapes(self) -> list[tuple[int, int]]:
        return [image.shape for image in self.images]

    @property
    def starts(self) -> list[int]:
        """First placeholder of each image."""
        return [spans[0][0] for spans in self.spans]

    @property
    def row_counts(self) -> list[int]:
        return [sum(count for _, count in spans) for spans in self.spans]

    @property
    def row_starts(self) -> list[int]:
        return [0, *np.cumsum(self.row_counts).tolist()]

    def with_rows(self, order: NDArray[np.int64] | list[int]) -> Case:
        return replace(self, rows=self.rows[torch.as_tensor(np.asarray(order))])

    def with_positions(self, positions: NDArray[np.int64]) -> Case:
        return replace(self, positions=positions)


def _runs(flags: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Start and length of each run of true values."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    return [(int(start), int(stop - start)) for start, stop in edges.reshape(-1, 2)]


def make_case(
    architecture: Architecture, tokenizer: Qwen2Tokenizer, images: list[GridImage], kind: str, rng: np.random.Generator
) -> Case:
    asked = QUESTIONS[kind][0](rng, images)
    parts = [{"type": "image"} for _ in images] + [{"type": "text", "text": asked.question}]
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": parts}], tokenize=False, add_generation_prompt=True
    )
    before, *after = text.split(architecture.markup)
    written = zip((architecture.image_text(image.shape) for image in images), after, strict=True)
    prompt = tokenizer(before + "".join(a + b for a, b in written), add_special_tokens=False)["input_ids"]
    ids = np.array(
        [*prompt, *tokenizer(asked.answer + architecture.turn_end, add_special_tokens=False)["input_ids"]], np.int64
    )
    is_row = ids == int(tokenizer.convert_tokens_to_ids(architecture.placeholder))
    runs = iter(_runs(is_row))
    spans: list[list[tuple[int, int]]] = []
    for image in images:
        left, mine = len(architecture.cells(image.shape)), []
        while left:
            mine.append(next(runs))
            left -= mine[-1][1]
        spans.append(mine)
    shapes = [image.shape for image in images]
    return Case(images, kind, ids, len(prompt), spans, architecture.positions(is_row, shapes))


def make_cases(architecture: Architecture, tokenizer: Qwen2Tokenizer, count: int, seed: int) -> list[Case]:
    """``count`` cases on held-out digits; cases 2k and 2k+1 have images of the same shapes, so that they can be
    swapped."""
    rng, bank, limits = np.random.default_rng(seed), shared_bank("test", CELL), architecture.limits
    cases: list[Case] = []
    while len(cases) < count:
        shapes = choose_shapes(rng, limits)
        for _ in range(2):
            images = [make_image(rng, bank, shape, limits) for shape in shapes]
            cases.append(make_case(architecture, tokenizer, images, choose_kind(rng, architecture.kinds), rng))
    return cases[:count]


@torch.inference_mode()
def encode_cases(
    architecture: Architecture,
    model: Any,
    cases: Sequence[Case],
    shapes: Sequence[Sequence[tuple[int, int]]] | None = None,
) -> list[Case]:
    """The cases with their images' rows. ``shapes`` of a case's images are told to the tower in place of their own."""
    told = shapes or [case.shapes for case in cases]
    return [
        replace(case, rows=architecture.encode(model, case.images, mine).float())
        for case, mine in zip(cases, told, strict=True)
    ]


@torch.inference_mode()
def answered_right(architecture: Architecture, model: Any, cases: Sequence[Case], batch: int = 32) -> list[bool]:
    """Whether greedy decoding would give the answer and stop there: every token of it is the argmax."""
    right = [False] * len(cases)
    order = sorted(range(len(cases)), key=lambda i: len(cases[i].ids))
    for start in range(0, len(order), batch):
        chosen = order[start : start + batch]
        length = max(len(cases[i].ids) for i in chosen)
        ids, positions = (
            torch.zeros(len(chosen), length, dtype=torch.long),
            torch.zeros(3, len(chosen), length, dtype=torch.long),
        )
        for b, i in enumerate(chosen):
            ids[b, : len(cases[i].ids)] = torch.from_numpy(cases[i].ids)
            positions[:, b, : len(cases[i].ids)] = torch.from_numpy(cases[i].positions)
        rows = torch.cat([cases[i].rows for i in chosen])
        best = model.lm_head(architecture.hidden(model, ids, rows, positions, None)).argmax(-1)
        for b, i in enumerate(chosen):
            prompt, end = cases[i].prompt_length, len(cases[i].ids)
            right[i] = bool((best[b, prompt - 1 : end - 1] == ids[b, prompt:end]).all())
    return right
