"""Scaled dot product attention, as torch has it and with capped scores (Gemma 2), which torch does not.

Shapes: B rows, H query heads, G key/value heads, T queries, L keys, D key width, V value width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def attention(
    q_BHTD: Tensor, k_BGLD: Tensor, v_BGLV: Tensor, *, scale: float, softcap: float | None = None,
    mask: Tensor | None = None, is_causal: bool = False, enable_gqa: bool = False,
) -> Tensor:  # fmt: skip
    """[B, H, T, V]. ``mask`` and the rest as torch's own. ``softcap``: a score s becomes softcap * tanh(s / softcap)
    before it is masked; then everything is written out, in float32.
    """
    if softcap is None:
        return F.scaled_dot_product_attention(
            q_BHTD, k_BGLD, v_BGLV, attn_mask=mask, is_causal=is_causal, scale=scale, enable_gqa=enable_gqa
        )
    if enable_gqa:
        k_BGLD, v_BGLV = (x.repeat_interleave(q_BHTD.shape[1] // x.shape[1], dim=1) for x in (k_BGLD, v_BGLV))
    scores_BHTL = softcap * torch.tanh(q_BHTD.float() @ k_BGLD.float().transpose(2, 3) * (scale / softcap))
    if is_causal:
        mask = torch.ones(scores_BHTL.shape[2:], dtype=torch.bool, device=q_BHTD.device).tril()
    if mask is not None:
        scores_BHTL = scores_BHTL.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else scores_BHTL + mask
    return (scores_BHTL.softmax(dim=-1) @ v_BGLV.float()).to(v_BGLV.dtype)
