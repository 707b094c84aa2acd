"""The second half: teach the language model to look a cell up by image, row and column.

It needs no tower: its rows are the codes that the tower is taught to emit, plus noise. So both halves can be made at
the same time, and when accuracy is low it is plain which of them is at fault.

Early on, small heads ask every image row, and every token that is about to say what it read, for the image, row and
column concerned, and the latter also for what the row tells: once both know, answering is a lookup, and its loss falls.
Without the last, all colours' words become one word before the difference is learnt.

Shapes: B sequences, T tokens, A answer tokens, V vocabulary, D hidden.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reference_engine.sentinels.architectures.base import HIDDEN, IGNORED, Architecture
from reference_engine.sentinels.training.packing import STAGES, Batch, IdealPool, Words, collate, pack

if TYPE_CHECKING:
    from transformers import Qwen2Tokenizer

PLACE = (8, 8, 8)
"""Classes of an image's number, a row and a column."""
PROBE_WEIGHT = 0.2
MASTERED = 0.97
"""Share of right answer tokens at which a stage ends early."""


class Probe(nn.Module):
    """Heads that ask a hidden state for so many things, of so many ``classes`` each."""

    def __init__(self, classes: Iterable[int]) -> None:
        super().__init__()
        self.heads = nn.ModuleList(nn.Linear(HIDDEN, count) for count in classes)

    def loss(self, hidden_ND: Tensor, wanted_NC: Tensor) -> Tensor:
        x = F.layer_norm(hidden_ND, hidden_ND.shape[-1:])
        asked = [(head, wanted) for head, wanted in zip(self.heads, wanted_NC.T, strict=True) if (wanted >= 0).any()]
        return sum(F.cross_entropy(head(x), wanted, ignore_index=IGNORED) for head, wanted in asked)  # type: ignore[return-value]


@dataclass
class Read:
    """What the model makes of a batch: A answer tokens, their mask [B, T-1], and hidden states [B, T, D] of three
    layers."""

    logits_AV: Tensor
    target_A: Tensor
    wanted_BT: Tensor
    early_BTD: Tensor
    middle_BTD: Tensor
    late_BTD: Tensor


def read(architecture: Architecture, model: Any, batch: Batch) -> Read:
    kept: list[Tensor] = []

    def keep(_module: nn.Module, _args: Any, output: Any) -> None:
        kept.append(output[0] if isinstance(output, tuple) else output)

    layers = architecture.text_model(model).layers
    hooks = [layers[layer].register_forward_hook(keep) for layer in (1, 2, 4)]  # type: ignore[index, union-attr]
    hidden = architecture.hidden(model, batch.ids_BT, batch.rows_RKD, batch.positions_3BT, batch.mask_B1TT)
    for hook in hooks:
        hook.remove()
    target = batch.labels_BT[:, 1:]
    wanted = target != IGNORED
    return Read(model.lm_head(hidden[:, :-1][wanted]), target[wanted], wanted, *kept)


@torch.no_grad()
def exact_match(architecture: Architecture, model: Any, batches: list[Batch]) -> dict[str, float]:
    """Share of answers whose every token is the argmax, by kind and ``overall``; equal to greedy decoding."""
    hits: dict[str, list[bool]] = {}
    for batch in batches:
        seen = read(architecture, model, batch)
        wanted = seen.wanted_BT
        right = torch.ones_like(wanted)
        right[wanted] = seen.logits_AV.argmax(-1) == seen.target_A
        for b, kinds in enumerate(batch.kinds):
            for k, kind in enumerate(kinds, 1):
                mine = wanted[b] & (batch.segment_BT[b, 1:] == k)
                hits.setdefault(kind, []).append(bool(right[b][mine].all()))
    every = [hit for found in hits.values() for hit in found]
    return {kind: float(np.mean(found)) for kind, found in sorted(hits.items())} | {"overall": float(np.mean(every))}


def judge_batches(
    architecture: Architecture, tokenizer: Qwen2Tokenizer, pool: IdealPool, seed: int, count: int = 6
) -> list[Batch]:
    rng, words, last = np.random.default_rng(seed), Words(tokenizer), len(STAGES) - 1
    (padding,) = words.canonical("<|endoftext|>")
    return [
        collate(architecture, [pack(rng, words, pool, architecture, last) for _ in range(16)], padding)
        for _ in range(count)
    ]


def train_language(
    architecture: Architecture,
    model: Any,
    tokenizer: Qwen2Tokenizer,
    pool: IdealPool,
    judged: list[Batch],
    *,
    steps: int,
    seed: int,
    peak: float,
    first_stage: int = 0,
) -> Iterator[dict[str, float]]:
    """Train the language model in place; yields running figures every 50 steps and ``judged`` figures every 500."""
    rng, words = np.random.default_rng(seed), Words(tokenizer)
    (padding,) = words.canonical("<|endoftext|>")
    rows_know, answers_know = Probe(PLACE), Probe(PLACE)
    answers_tell = Probe(attribute.classes for attribute in architecture.attributes)
    heads = [*rows_know.parameters(), *answers_know.parameters(), *answers_tell.parameters()]
    trained = [*(p for name, p in model.named_parameters() if not architecture.in_tower(name)), *heads]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": 0.05},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=peak, betas=(0.9, 0.98), foreach=True)
    running: dict[str, float] = {}
    level = first_stage
    for step in range(steps):
        done = step / steps
        if level + 1 < len(STAGES) and (done >= STAGES[level].until or running.get("tokens", 0.0) > MASTERED):
            level, running = level + 1, {}
        cooling = 0.5 * (1 + math.cos(math.pi * max(0.0, done - 0.2) / 0.8))
        for group in optimizer.param_groups:
            group["lr"] = peak * min(1.0, (step + 1) / 100) * (0.01 + 0.99 * cooling)
        batch = collate(
            architecture,
            [pack(rng, words, pool, architecture, level) for _ in range(architecture.batches[level])],
            padding,
        )
        seen = read(architecture, model, batch)
        answers = F.cross_entropy(seen.logits_AV, seen.target_A)
        is_image = batch.ids_BT == model.config.image_token_id
        placed = rows_know.loss(seen.early_BTD[is_image], batch.place_R3)
        pointed = answers_know.loss(seen.middle_BTD[batch.says_BT], batch.sources_SN[:, :3])
        told = answers_tell.loss(seen.late_BTD[batch.says_BT], batch.sources_SN[:, 3:])
        (
            answers + PROBE_WEIGHT * max(0.0, 1 - done / 0.7) * (placed + pointed + architecture.told_weight * told)
        ).backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        share = (seen.logits_AV.argmax(-1) == seen.target_A).float().mean()
        shown = {"loss": answers, "places": placed, "pointers": pointed, "told": told, "tokens": share}
        for name, value in shown.items():
            running[name] = 0.95 * running.get(name, value.item()) + 0.05 * value.item()
        if step % 50 == 49 or step + 1 == steps:
            figures = exact_match(architecture, model, judged) if step % 500 == 499 or step + 1 == steps else {}
            yield {"step": step + 1, "stage": level + 1, **running, **figures}
