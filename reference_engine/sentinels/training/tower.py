"""The first half: teach the vision tower to write each cell's digit and colour into its merged row.

Trained end to end from nothing, neither tower nor language model learns anything in an hour. So the tower learns
first, alone, to emit a *code*: the sum of one fixed vector a digit and one a colour, all orthogonal and of the same
length. The language model then meets rows as clean as word embeddings, with as much energy in the colour as in the
digit.

Shapes: P patches, R rows (cells), D hidden.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reference_engine.sentinels.architecture import HIDDEN, IMAGE_MEAN, IMAGE_STD, PATCH
from reference_engine.sentinels.digits import DigitBank
from reference_engine.sentinels.tasks import CELL, COLOURS, GridImage, make_image

if TYPE_CHECKING:
    from transformers import Qwen2_5_VLForConditionalGeneration

CODE_LENGTH = 0.8
"""Length of a digit's or colour's vector; a row of both then has a standard deviation of 0.1, like a word embedding."""


def code_book(seed: int = 0) -> tuple[Tensor, Tensor]:
    """Orthogonal codes: digits [10, D] and colours [len(COLOURS), D], each of length :data:`CODE_LENGTH`."""
    generator = torch.Generator().manual_seed(seed)
    basis, _ = torch.linalg.qr(torch.randn(HIDDEN, 10 + len(COLOURS), generator=generator))
    codes = basis.T * CODE_LENGTH
    return codes[:10], codes[10:]


def patches(image: GridImage) -> np.ndarray[Any, np.dtype[np.float32]]:
    """What transformers' image processor makes of the image, float32 [4 * cells, 3 * 2 * 14 * 14]; no resize is
    needed."""
    mean, std = (np.array(values, np.float32) for values in (IMAGE_MEAN, IMAGE_STD))
    pixels = (image.pixels.astype(np.float32) / np.float32(255.0) - mean) / std
    rows, columns = image.shape
    blocks = pixels.reshape(rows, 2, PATCH, columns, 2, PATCH, 3).transpose(0, 3, 1, 4, 6, 2, 5)
    frames = np.broadcast_to(blocks[:, :, :, :, :, None], (rows, columns, 2, 2, 3, 2, PATCH, PATCH))
    return frames.reshape(4 * rows * columns, 3 * 2 * PATCH * PATCH)


def grid_thw(images: Sequence[GridImage]) -> Tensor:
    return torch.tensor([[1, 2 * image.shape[0], 2 * image.shape[1]] for image in images])


def attend_by_length(
    module: nn.Module, q: Tensor, k: Tensor, v: Tensor, attention_mask: Tensor | None, **kw: Any
) -> Any:
    """Attention within segments, all segments of one length in one call. q, k, v [1, heads, P, d]; out [1, P, heads,
    d]."""
    starts = kw["cu_seq_lens_q"].tolist()
    by_length: dict[int, list[int]] = {}
    for start, stop in itertools.pairwise(starts):
        by_length.setdefault(stop - start, []).append(start)
    groups = [torch.tensor(at)[:, None] + torch.arange(length) for length, at in by_length.items()]
    parts = []
    for at in groups:
        q_at, k_at, v_at = (x[0].transpose(0, 1)[at].transpose(1, 2) for x in (q, k, v))
        out = F.scaled_dot_product_attention(q_at, k_at, v_at, scale=kw["scaling"])
        parts.append(out.transpose(1, 2).flatten(0, 1))
    order = torch.argsort(torch.cat([at.flatten() for at in groups]))
    return torch.cat(parts)[order][None], None


class LinearPatchEmbed(nn.Module):
    """The patch convolution as the linear map it is; the CPU library would compile the convolution anew for every
    length."""

    def __init__(self, convolution: nn.Conv3d) -> None:
        super().__init__()
        self.proj = convolution

    def forward(self, x_PC: Tensor) -> Tensor:
        return F.linear(x_PC, self.proj.weight.flatten(1))


def speed_up(model: Qwen2_5_VLForConditionalGeneration) -> None:
    """Faster forms of the same tower, for training only; the parameters stay where they are and keep their names."""
    from transformers import AttentionInterface

    AttentionInterface.register("sentinel_flash_by_length", attend_by_length)
    model.set_attn_implementation({"vision_config": "sentinel_flash_by_length", "text_config": "sdpa"})
    model.model.visual.patch_embed = LinearPatchEmbed(model.model.visual.patch_embed.proj)


def encode(model: Qwen2_5_VLForConditionalGeneration, images: Sequence[GridImage]) -> Tensor:
    """Rows of all images, one after the other, float32 [R, D]."""
    pixels = torch.from_numpy(np.concatenate([patches(image) for image in images]))
    rows: Tensor = model.model.visual(pixels, grid_thw(images)).pooler_output
    return rows


def _targets(images: Sequence[GridImage]) -> tuple[Tensor, Tensor]:
    return tuple(
        torch.from_numpy(np.concatenate([getattr(i, n).ravel() for i in images])) for n in ("digits", "colours")
    )  # type: ignore[return-value]


def _draw(rng: np.random.Generator, bank: DigitBank, count: int, large: float) -> list[GridImage]:
    shapes = rng.integers(1, 6, size=(count, 2))
    return [make_image(rng, bank, (int(r), int(c)), large) for r, c in shapes]


@torch.no_grad()
def cell_accuracy(model: Qwen2_5_VLForConditionalGeneration, images: Sequence[GridImage]) -> dict[str, float]:
    """Share of cells whose nearest digit and colour codes are right."""
    rows = encode(model, images)
    return {
        name: (rows @ codes.T).argmax(-1).eq(target).float().mean().item()
        for name, codes, target in zip(("digit", "colour"), code_book(), _targets(images), strict=True)
    }


def train_tower(
    model: Qwen2_5_VLForConditionalGeneration, *, steps: int, seed: int, large_from: float = 0.3, peak: float = 2e-3
) -> Iterator[dict[str, float]]:
    """Train ``model.model.visual`` in place; yields figures every 50 steps. Digits spanning cells come in at
    ``large_from``."""
    tower = model.model.visual
    rng = np.random.default_rng(seed)
    bank = DigitBank("train", cell=CELL, variants=24, seed=seed + 1, augment=True)
    held_out = DigitBank("validation", cell=CELL, variants=4, seed=seed + 2, augment=False)
    judged = _draw(np.random.default_rng(seed + 3), held_out, 96, 0.5)
    digit_codes, colour_codes = code_book()
    decayed = [p for p in tower.parameters() if p.ndim > 1]
    plain = [p for p in tower.parameters() if p.ndim < 2]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.05}, {"params": plain, "weight_decay": 0.0}], lr=peak, betas=(0.9, 0.98)
    )
    tower.train()
    for step in range(steps):
        done = step / steps
        for group in optimizer.param_groups:
            group["lr"] = peak * min(1.0, (step + 1) / 50) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done)))
        images = _draw(rng, bank, 40, 0.5 if done >= large_from else 0.0)
        digits, colours = _targets(images)
        rows = encode(model, images)
        sharpness = 8.0 / CODE_LENGTH**2
        named = F.cross_entropy(sharpness * rows @ digit_codes.T, digits) + F.cross_entropy(
            sharpness * rows @ colour_codes.T, colours
        )
        clean = (rows - digit_codes[digits] - colour_codes[colours]).square().sum(-1).mean()
        (named + clean).backward()
        torch.nn.utils.clip_grad_norm_(tower.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if step % 50 == 49 or step + 1 == steps:
            tower.eval()
            yield {"step": step + 1, "loss": named.item(), "distance": clean.item(), **cell_accuracy(model, judged)}
            tower.train()
    tower.eval()
