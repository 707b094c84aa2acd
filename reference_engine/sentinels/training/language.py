"""The second half: teach the language model to look a cell up by image, row and column.

It needs no tower: its rows are the codes that the tower is taught to emit, plus noise. So both halves can be made at
the same time, and when accuracy is low it is plain which of them is at fault.

Early on, small heads ask every image row, and every token that is about to say what it read, for the image, row and
column concerned: once both know, answering is a lookup, and its loss falls.

Shapes: B sequences, T tokens, A answer tokens, V vocabulary, D hidden.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reference_engine.sentinels.architecture import HIDDEN
from reference_engine.sentinels.training.packing import IGNORED, STAGES, Batch, IdealPool, Words, collate, pack

if TYPE_CHECKING:
    from transformers import Qwen2_5_VLForConditionalGeneration, Qwen2Tokenizer

PLACE_WEIGHT = 0.2
MASTERED = 0.97
"""Share of right answer tokens at which a stage ends early."""


class Places(nn.Module):
    """Heads that ask a hidden state for the image, row and column it stands for."""

    def __init__(self) -> None:
        super().__init__()
        self.heads = nn.ModuleList(nn.Linear(HIDDEN, classes) for classes in (8, 8, 8))

    def loss(self, hidden_ND: Tensor, place_N3: Tensor) -> Tensor:
        x = F.layer_norm(hidden_ND, hidden_ND.shape[-1:])
        return sum(F.cross_entropy(h(x), place_N3[:, i]) for i, h in enumerate(self.heads))  # type: ignore[return-value]


@dataclass
class Read:
    """What the model makes of a batch: A answer tokens, their mask [B, T-1], and hidden states [B, T, D] of two
    layers."""

    logits_AV: Tensor
    target_A: Tensor
    wanted_BT: Tensor
    early_BTD: Tensor
    middle_BTD: Tensor


def read(model: Qwen2_5_VLForConditionalGeneration, batch: Batch) -> Read:
    kept: list[Tensor] = []

    def keep(_module: nn.Module, _args: Any, output: Any) -> None:
        kept.append(output[0] if isinstance(output, tuple) else output)

    core = model.model
    is_image = batch.ids_BT == model.config.image_token_id
    embeds = core.get_input_embeddings()(batch.ids_BT).masked_scatter(is_image[..., None], batch.rows_RD)
    hooks = [core.language_model.layers[layer].register_forward_hook(keep) for layer in (1, 2)]
    hidden = core.language_model(
        inputs_embeds=embeds,
        position_ids=batch.positions_3BT,
        attention_mask={"full_attention": batch.mask_B1TT},
        use_cache=False,
    ).last_hidden_state
    for hook in hooks:
        hook.remove()
    target = batch.labels_BT[:, 1:]
    wanted = target != IGNORED
    return Read(model.lm_head(hidden[:, :-1][wanted]), target[wanted], wanted, *kept)


@torch.no_grad()
def exact_match(model: Qwen2_5_VLForConditionalGeneration, batches: list[Batch]) -> dict[str, float]:
    """Share of answers whose every token is the argmax, by kind and ``overall``; equal to greedy decoding."""
    hits: dict[str, list[bool]] = {}
    for batch in batches:
        seen = read(model, batch)
        wanted = seen.wanted_BT
        right = torch.ones_like(wanted)
        right[wanted] = seen.logits_AV.argmax(-1) == seen.target_A
        for b, kinds in enumerate(batch.kinds):
            for k, kind in enumerate(kinds, 1):
                mine = wanted[b] & (batch.segment_BT[b, 1:] == k)
                hits.setdefault(kind, []).append(bool(right[b][mine].all()))
    every = [hit for found in hits.values() for hit in found]
    return {kind: float(np.mean(found)) for kind, found in sorted(hits.items())} | {"overall": float(np.mean(every))}


def judge_batches(tokenizer: Qwen2Tokenizer, pool: IdealPool, seed: int, count: int = 6) -> list[Batch]:
    rng, words = np.random.default_rng(seed), Words(tokenizer)
    padding = words.special["<|endoftext|>"]
    return [collate([pack(rng, words, pool, STAGES[-1]) for _ in range(16)], padding) for _ in range(count)]


def train_language(
    model: Qwen2_5_VLForConditionalGeneration,
    tokenizer: Qwen2Tokenizer,
    pool: IdealPool,
    judged: list[Batch],
    *,
    steps: int,
    seed: int,
    peak: float,
) -> Iterator[dict[str, float]]:
    """Train the language model in place; yields running figures every 50 steps and ``judged`` figures every 500."""
    rng, words = np.random.default_rng(seed), Words(tokenizer)
    padding = words.special["<|endoftext|>"]
    rows_know, answers_know = Places(), Places()
    heads = [*rows_know.parameters(), *answers_know.parameters()]
    trained = [*model.model.language_model.parameters(), *model.lm_head.parameters(), *heads]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": 0.05},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=peak, betas=(0.9, 0.98), foreach=True)
    running: dict[str, float] = {}
    level = 0
    for step in range(steps):
        done = step / steps
        if level + 1 < len(STAGES) and (done >= STAGES[level].until or running.get("tokens", 0.0) > MASTERED):
            level, running = level + 1, {}
        stage = STAGES[level]
        cooling = 0.5 * (1 + math.cos(math.pi * max(0.0, done - 0.2) / 0.8))
        for group in optimizer.param_groups:
            group["lr"] = peak * min(1.0, (step + 1) / 100) * (0.01 + 0.99 * cooling)
        batch = collate([pack(rng, words, pool, stage) for _ in range(stage.batch)], padding)
        seen = read(model, batch)
        answers = F.cross_entropy(seen.logits_AV, seen.target_A)
        is_image, says = batch.ids_BT == model.config.image_token_id, batch.sources_BT3[..., 0] != IGNORED
        placed = rows_know.loss(seen.early_BTD[is_image], batch.place_R3)
        pointed = answers_know.loss(seen.middle_BTD[says], batch.sources_BT3[says])
        (answers + PLACE_WEIGHT * max(0.0, 1 - done / 0.7) * (placed + pointed)).backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        share = (seen.logits_AV.argmax(-1) == seen.target_A).float().mean()
        for name, value in (("loss", answers), ("places", placed), ("pointers", pointed), ("tokens", share)):
            running[name] = 0.95 * running.get(name, value.item()) + 0.05 * value.item()
        if step % 50 == 49:
            figures = exact_match(model, judged) if step % 500 == 499 or step + 1 == steps else {}
            yield {"step": step + 1, "stage": level + 1, **running, **figures}
