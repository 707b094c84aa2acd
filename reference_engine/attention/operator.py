"""Paged attention as one operator that a compiler does not look into: the decoder around it compiles whole.

The operator is told a number in place of a step, because a compiled graph takes tensors and numbers only; the step that
runs under that number is set for the time of a call. A number belongs to one model for its life, so it is a constant of
what was compiled, and no step of one engine can be met by another.

Shapes: T new tokens, H query heads, G key/value heads, D key width, V value width.
"""

from __future__ import annotations

from itertools import count

import torch
from torch import Tensor

from reference_engine.attention.paged import PagedStep

_running: dict[int, PagedStep] = {}
_numbers = count()


class OperatorStep:
    """Stands for whatever step runs now; what a compiled decoder is given."""

    def __init__(self) -> None:
        self.number = next(_numbers)

    def run(self, step: PagedStep) -> _Running:
        """``with place.run(step):`` the place stands for this step."""
        return _Running(self.number, step)

    def attend(
        self, layer: int, q_1HTD: Tensor, k_1GTD: Tensor, v_1GTV: Tensor, scaling: float, sliding: int | None = None,
        softcap: float | None = None,
    ) -> Tensor:  # fmt: skip
        made: Tensor = attend_operator(q_1HTD, k_1GTD, v_1GTV, layer, scaling, sliding, softcap, self.number)
        return made


class _Running:
    def __init__(self, number: int, step: PagedStep) -> None:
        self.number, self.step = number, step

    def __enter__(self) -> None:
        _running[self.number] = self.step

    def __exit__(self, *_: object) -> None:
        del _running[self.number]


@torch.library.custom_op("assay::paged_attention", mutates_args=())
def attend_operator(
    q: Tensor, k: Tensor, v: Tensor, layer: int, scaling: float, sliding: int | None, softcap: float | None, number: int
) -> Tensor:
    """What it writes to the cache is nobody's input but its own: to the compiler it is a function. [T, H, V]."""
    return _running[number].attend(layer, q, k, v, scaling, sliding, softcap)


@attend_operator.register_fake
def _(
    q: Tensor, k: Tensor, v: Tensor, layer: int, scaling: float, sliding: int | None, softcap: float | None, number: int
) -> Tensor:
    return q.new_empty(q.shape[2], q.shape[1], v.shape[3])
