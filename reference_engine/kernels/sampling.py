"""From logits to tokens on a card, in one launch: see :mod:`reference_engine.kernels.picking`."""

from __future__ import annotations

from torch import Tensor

from reference_engine.kernels import AS_WRITTEN
from reference_engine.kernels.picking import pick_kernel

LANES = 4096


def pick(logits_BV: Tensor, model_logits_BV: Tensor, wholes_B4: Tensor, numbers_B3: Tensor) -> Tensor:
    """int64 [B, 2]: each row's token, and 1 where the model's own logits are all finite.

    float32 logits, with bias and penalties, and without. ``wholes``, int64: seed, index of the choice, position, and
    top-k or 0. ``numbers``, float64: temperature or 0 for the largest logit, top-p or 1, and the logarithm of min-p or
    -inf.
    """
    logits_BV, model_logits_BV = logits_BV.contiguous(), model_logits_BV.contiguous()
    rows, vocabulary = logits_BV.shape
    out_B2 = wholes_B4.new_empty(rows, 2)
    pick_kernel[(rows,)](
        logits_BV,
        model_logits_BV,
        wholes_B4,
        numbers_B3,
        out_B2,
        V=vocabulary,
        LANES=LANES,
        num_warps=16,
        **AS_WRITTEN,
    )
    return out_B2
