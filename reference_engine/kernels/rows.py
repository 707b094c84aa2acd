"""The device code of what works row by row: linear maps, norms, log-softmax. It is launched by
:mod:`reference_engine.kernels.row_functions`.

A row's bits depend on that row alone. A product is summed over its inputs in blocks of one fixed length, from the first
to the last, in tiles of one fixed shape, by one program: the work is never split along that sum, and no other shape of
tile is taken for few rows or for many. A norm is one program a row, with one tree of sums that follows from the width.
The number of rows is a plain argument that nothing is specialized for, so all batches run one compiled kernel.

float32 is multiplied in float32 ("ieee"), never in TF32. Sums are float32 whatever the inputs are.

Shapes: N rows, IN inputs, OUT outputs, W width, V vocabulary; M, BO, BI rows, outputs and inputs of a tile.
"""

import triton
import triton.language as tl

from reference_engine.kernels.paged import product


@triton.jit(do_not_specialize=["rows"])
def linear_kernel(
    x, weight, bias, out, rows,
    IN: tl.constexpr, OUT: tl.constexpr, M: tl.constexpr, BO: tl.constexpr, BI: tl.constexpr, BIASED: tl.constexpr,
    WIDEN: tl.constexpr,
):  # fmt: skip
    """One tile of ``out`` [N, OUT] = ``x`` [N, IN] @ ``weight`` [OUT, IN] transposed, and ``bias`` [OUT]. Tiles that
    share weights are next to each other, so that these come from memory once."""
    row = tl.program_id(0).to(tl.int64) * M + tl.arange(0, M)
    column = tl.program_id(1) * BO + tl.arange(0, BO)
    i = tl.arange(0, BI)
    x_at = x + row[:, None] * IN + i[None, :]
    weight_at = weight + column.to(tl.int64)[None, :] * IN + i[:, None]
    acc = tl.zeros([M, BO], tl.float32)
    for first in range(0, IN, BI):
        inside = first + i < IN
        a = tl.load(x_at + first, mask=(row < rows)[:, None] & inside[None, :], other=0.0)
        b = tl.load(weight_at + first, mask=(column < OUT)[None, :] & inside[:, None], other=0.0)
        acc += product(a, b, WIDEN)
    if BIASED:
        acc += tl.load(bias + column, mask=column < OUT, other=0.0).to(tl.float32)[None, :]
    place = out + row[:, None] * OUT + column[None, :]
    tl.store(place, acc.to(out.dtype.element_ty), mask=(row < rows)[:, None] & (column < OUT)[None, :])


@triton.jit
def rms_norm_kernel(x, weight, out, epsilon, W: tl.constexpr, PW: tl.constexpr, CENTRED: tl.constexpr):
    """One row over its root mean square; rounded to the type of ``x`` before the weight, as transformers does. CENTRED:
    the weight is what is added to 1, and nothing is rounded before (Gemma)."""
    place, w = tl.program_id(0).to(tl.int64) * W, tl.arange(0, PW)
    value = tl.load(x + place + w, mask=w < W, other=0.0).to(tl.float32)
    normed = value * tl.rsqrt(tl.sum(value * value, 0) / W + epsilon)
    scale = tl.load(weight + w, mask=w < W, other=0.0).to(tl.float32)
    if CENTRED:
        scaled = normed * (1.0 + scale)
    else:
        scaled = normed.to(x.dtype.element_ty).to(tl.float32) * scale
    tl.store(out + place + w, scaled.to(out.dtype.element_ty), mask=w < W)


@triton.jit
def layer_norm_kernel(x, weight, bias, out, epsilon, W: tl.constexpr, PW: tl.constexpr):
    """One row less its mean, over its standard deviation, times the weight, plus the bias."""
    place, w = tl.program_id(0).to(tl.int64) * W, tl.arange(0, PW)
    value = tl.load(x + place + w, mask=w < W, other=0.0).to(tl.float32)
    centred = tl.where(w < W, value - tl.sum(value, 0) / W, 0.0)
    normed = centred * tl.rsqrt(tl.sum(centred * centred, 0) / W + epsilon)
    scale = tl.load(weight + w, mask=w < W, other=0.0).to(tl.float32)
    shift = tl.load(bias + w, mask=w < W, other=0.0).to(tl.float32)
    tl.store(out + place + w, (normed * scale + shift).to(out.dtype.element_ty), mask=w < W)


@triton.jit
def log_softmax_kernel(logits, out, V: tl.constexpr, BV: tl.constexpr):
    """One row of a vocabulary, BV entries at a time; float32. Each of BV lanes sums its own; lanes are summed last."""
    place, v = tl.program_id(0).to(tl.int64) * V, tl.arange(0, BV)
    top = tl.full([BV], float("-inf"), tl.float32)
    for first in range(0, V, BV):
        top = tl.maximum(top, tl.load(logits + place + first + v, mask=first + v < V, other=float("-inf")))
    largest = tl.max(top, 0)
    total = tl.zeros([BV], tl.float32)
    for first in range(0, V, BV):
        total += tl.exp(tl.load(logits + place + first + v, mask=first + v < V, other=float("-inf")) - largest)
    log_total = tl.log(tl.sum(total, 0))
    for first in range(0, V, BV):
        value = tl.load(logits + place + first + v, mask=first + v < V, other=0.0)
        tl.store(out + place + first + v, value - largest - log_total, mask=first + v < V)
