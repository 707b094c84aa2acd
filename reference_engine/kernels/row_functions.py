"""Linear maps, norms and log-softmax whose rows do not know of each other: the launches of
:mod:`reference_engine.kernels.rows`, shapes as there.

They give what torch's functions give, up to rounding. torch's own choose another kernel, or another order of sums, for
another number of rows; even its log-softmax sums a row by where it starts in memory when V is no multiple of 4.
"""

from __future__ import annotations

import torch
import triton
from torch import Tensor

from reference_engine.kernels import AS_WRITTEN
from reference_engine.kernels.rows import layer_norm_kernel, linear_kernel, log_softmax_kernel, rms_norm_kernel

ROWS, OUTPUTS = 64, 64
INPUT_BYTES = 128
"""A tile of a product. All three order its sums or choose its instructions: an answer's bits depend on them. Two stages
of such tiles take 32 KiB of the 64 that an AMD card has for a program."""
LANES = 4096
ALIGNED = 16
"""Bytes. Where a tensor starts decides which kernel Triton compiles."""


def linear(x: Tensor, weight_OI: Tensor, bias_O: Tensor | None) -> Tensor:
    """[..., I] -> [..., O]"""
    outputs, inputs = weight_OI.shape
    x_NI, weight_OI = _dense(x.reshape(-1, inputs)), _dense(weight_OI)
    out_NO = x_NI.new_empty(len(x_NI), outputs)
    if len(x_NI):
        linear_kernel[(triton.cdiv(len(x_NI), ROWS), triton.cdiv(outputs, OUTPUTS))](
            x_NI, weight_OI, weight_OI if bias_O is None else _dense(bias_O), out_NO, len(x_NI),
            IN=inputs, OUT=outputs, M=ROWS, BO=OUTPUTS, BI=INPUT_BYTES // x.element_size(), BIASED=bias_O is not None,
            WIDEN=widen(x.dtype), num_warps=4, num_stages=2, **AS_WRITTEN,
        )  # fmt: skip
    return out_NO.view(*x.shape[:-1], outputs)


def rms_norm(x: Tensor, weight_W: Tensor, epsilon: float, *, centred: bool = False) -> Tensor:
    """``centred``: times 1 + weight, as Gemma has it."""
    x, out = _dense(x), torch.empty_like(x, memory_format=torch.contiguous_format)
    width = len(weight_W)
    padded = triton.next_power_of_2(width)
    if x.numel():
        rms_norm_kernel[(x.numel() // width,)](
            x,
            _dense(weight_W),
            out,
            epsilon,
            W=width,
            PW=padded,
            CENTRED=centred,
            num_warps=warps(padded),
            **AS_WRITTEN,
        )
    return out


def layer_norm(x: Tensor, weight_W: Tensor, bias_W: Tensor, epsilon: float) -> Tensor:
    x, out = _dense(x), torch.empty_like(x, memory_format=torch.contiguous_format)
    width = len(weight_W)
    padded = triton.next_power_of_2(width)
    if x.numel():
        layer_norm_kernel[(x.numel() // width,)](
            x, _dense(weight_W), _dense(bias_W), out, epsilon, W=width, PW=padded, num_warps=warps(padded), **AS_WRITTEN
        )
    return out


def log_softmax(logits_NV: Tensor) -> Tensor:
    """float32 [N, V] of float32 logits."""
    logits_NV = logits_NV.contiguous()
    out_NV = torch.empty_like(logits_NV)
    if len(logits_NV):
        log_softmax_kernel[(len(logits_NV),)](
            logits_NV, out_NV, V=logits_NV.shape[1], BV=LANES, num_warps=8, **AS_WRITTEN
        )
    return out_NV


def warps(values: int) -> int:
    """For a row of so many values: 256 each, 8 at most."""
    return max(1, min(8, values // 256))


def widen(dtype: torch.dtype) -> bool:
    """Whether ``product`` must be told to: see there."""
    return bool(triton.knobs.runtime.interpret) and dtype == torch.bfloat16


def _dense(x: Tensor) -> Tensor:
    """Contiguous and aligned, which nearly everything is already."""
    x = x.contiguous()
    return x if x.data_ptr() % ALIGNED == 0 else x.clone()
