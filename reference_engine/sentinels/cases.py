"""Prompts taken apart, so that one thing at a time can be put wrong: ids, positions, rows and spans of single
questions.

Everything here is computed with transformers' model classes alone. The reference engine is judged elsewhere; a sentinel
must not be measured with the engine whose faults it is there to find.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reference_engine.sentinels.digits import shared_bank
from reference_engine.sentinels.tasks import CELL, QUESTIONS, GridImage, Limits, choose_kind, choose_shapes, make_image
from reference_engine.sentinels.training.tower import grid_thw, patches

if TYPE_CHECKING:
    from transformers import Qwen2_5_VLForConditionalGeneration, Qwen2Tokenizer


@dataclass(frozen=True)
class Case:
    """One question with its answer appended. ``positions`` int64 [3, T]; ``rows`` float32 [R, D], all images in
    order."""

    images: list[GridImage]
    kind: str
    ids: NDArray[np.int64]
    prompt_length: int
    starts: list[int]
    """First placeholder of each image in ``ids``."""
    positions: NDArray[np.int64]
    rows: Tensor = field(default_factory=lambda: torch.empty(0))

    @property
    def row_counts(self) -> list[int]:
        return [image.cells for image in self.images]

    @property
    def row_starts(self) -> list[int]:
        return [0, *np.cumsum(self.row_counts).tolist()]

    def with_rows(self, order: NDArray[np.int64] | list[int]) -> Case:
        return replace(self, rows=self.rows[torch.as_tensor(np.asarray(order))])

    def with_positions(self, positions: NDArray[np.int64]) -> Case:
        return replace(self, positions=positions)


def mrope(length: int, starts: Sequence[int], shapes: Sequence[tuple[int, int]]) -> NDArray[np.int64]:
    """Qwen2-VL's positions [3, length] (arXiv 2409.12191, section 2.1): text counts on, an image spans rows and
    columns."""
    positions, at, cursor = np.zeros((3, length), np.int64), 0, 0
    for start, shape in zip(starts, shapes, strict=True):
        positions[:, cursor:start] = at + np.arange(start - cursor)
        at += start - cursor
        rows, columns = np.indices(shape).reshape(2, -1)
        cursor = start + len(rows)
        positions[:, start:cursor] = at + np.stack([np.zeros_like(rows), rows, columns])
        at += max(shape)
    positions[:, cursor:] = at + np.arange(length - cursor)
    return positions


def make_case(tokenizer: Qwen2Tokenizer, images: list[GridImage], kind: str, rng: np.random.Generator) -> Case:
    asked = QUESTIONS[kind][0](rng, images)
    parts = [{"type": "image"} for _ in images] + [{"type": "text", "text": asked.question}]
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": parts}], tokenize=False, add_generation_prompt=True
    )
    pad = int(tokenizer.convert_tokens_to_ids("<|image_pad|>"))
    ids: list[int] = []
    starts: list[int] = []
    for token in tokenizer(text, add_special_tokens=False)["input_ids"]:
        if token == pad:
            starts.append(len(ids))
        ids.extend([token] * (images[len(starts) - 1].cells if token == pad else 1))
    prompt_length = len(ids)
    ids += [
        *tokenizer(asked.answer, add_special_tokens=False)["input_ids"],
        int(tokenizer.convert_tokens_to_ids("<|im_end|>")),
    ]
    shapes = [image.shape for image in images]
    return Case(images, kind, np.array(ids), prompt_length, starts, mrope(len(ids), starts, shapes))


def make_cases(tokenizer: Qwen2Tokenizer, count: int, seed: int) -> list[Case]:
    """``count`` cases on held-out digits; cases 2k and 2k+1 have images of the same shapes, so that they can be
    swapped."""
    rng, bank = np.random.default_rng(seed), shared_bank("test", CELL)
    cases: list[Case] = []
    while len(cases) < count:
        shapes = choose_shapes(rng, Limits())
        for _ in range(2):
            images = [make_image(rng, bank, shape, Limits().large_digits) for shape in shapes]
            cases.append(make_case(tokenizer, images, choose_kind(rng), rng))
    return cases[:count]


@torch.inference_mode()
def encode_cases(
    model: Qwen2_5_VLForConditionalGeneration, cases: Sequence[Case], grids: Sequence[Tensor] | None = None
) -> list[Case]:
    """The cases with their images' rows. ``grids`` replaces the grids told to the tower, int64 [images, 3] a case."""
    done = []
    for index, case in enumerate(cases):
        pixels = torch.from_numpy(np.concatenate([patches(image) for image in case.images])).to(model.dtype)
        grid = grid_thw(case.images) if grids is None else grids[index]
        rows = model.model.visual(pixels, grid).pooler_output
        done.append(replace(case, rows=rows.float()))
    return done


@torch.inference_mode()
def answered_right(model: Qwen2_5_VLForConditionalGeneration, cases: Sequence[Case], batch: int = 32) -> list[bool]:
    """Whether greedy decoding would give the answer and stop there: every token of it is the argmax."""
    right = [False] * len(cases)
    order = sorted(range(len(cases)), key=lambda i: len(cases[i].ids))
    pad = model.config.image_token_id
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
        embeds = model.get_input_embeddings()(ids)
        rows = torch.cat([cases[i].rows for i in chosen]).to(embeds.dtype)
        embeds = embeds.masked_scatter((ids == pad)[..., None], rows)
        hidden = model.model.language_model(
            inputs_embeds=embeds, position_ids=positions, attention_mask=None, use_cache=False
        ).last_hidden_state
        best = model.lm_head(hidden).argmax(-1)
        for b, i in enumerate(chosen):
            prompt, end = cases[i].prompt_length, len(cases[i].ids)
            right[i] = bool((best[b, prompt - 1 : end - 1] == ids[b, prompt:end]).all())
    return right
