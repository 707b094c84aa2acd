"""The device code of paged attention: store, attend, combine. :mod:`reference_engine.kernels.attention` launches it.

What a row gets depends on nothing but its own query and its own context. Keys are cut into splits of fixed length from
position 0 of the context; a split is summed in blocks of fixed length, and splits are merged in order. So neither the
batch mates, nor where a chunk was cut, nor how many programs share the work changes the order of any sum: the kernel
is batch invariant by construction, as long as tiles keep their shape.

A tile is a few consecutive rows (new tokens) of one request times the query heads that share one key head: ROWS = 16
of them for decoding, so that the matrix units have work even for one token. What a row may see is ONE interval of
positions, which covers causal attention, sliding windows and spans that attend both ways.

Only ``tl`` is used, nothing of one vendor: ``tanh`` is written with ``sigmoid`` because Triton has it per vendor only.
float32 is multiplied in float32 ("ieee"), never in TF32. Sums are float32 whatever the inputs are.

Shapes: T new tokens, H query heads, G key heads, R = H/G, D key width, V value width, P splits a row has room for,
S tokens a block, M = ROWS rows of a tile, N keys read at once.
"""

import triton
import triton.language as tl

NEVER = tl.constexpr(-1.0e30)
"""The score of a key that is not visible: finite, so that no inf - inf makes a NaN."""


@triton.jit
def store_kernel(
    new_k, new_v, keys, values, slots, k_token, k_head, v_token, v_head,
    G: tl.constexpr, D: tl.constexpr, PD: tl.constexpr, V: tl.constexpr, PV: tl.constexpr,
):  # fmt: skip
    """One token and key head: its key and value go to row ``slots[token]`` of the caches [K*S, G, D] and [K*S, G, V].

    ``k_token``, ``k_head`` and the like are strides, so that what comes out of rope is read where it stands.
    """
    token, head = tl.program_id(0).to(tl.int64), tl.program_id(1)
    row = tl.load(slots + token).to(tl.int64) * G + head
    d, v = tl.arange(0, PD), tl.arange(0, PV)
    tl.store(keys + row * D + d, tl.load(new_k + token * k_token + head * k_head + d, mask=d < D), mask=d < D)
    tl.store(values + row * V + v, tl.load(new_v + token * v_token + head * v_head + v, mask=v < V), mask=v < V)


@triton.jit
def product(a, b, WIDEN: tl.constexpr):
    """a @ b, summed in float32. WIDEN is for Triton's interpreter, which has no bfloat16 product of its own: the same
    products, since float32 holds each of them exactly.
    """
    if WIDEN:
        a, b = a.to(tl.float32), b.to(tl.float32)
    return tl.dot(a, b, input_precision="ieee")


@triton.jit
def merge(acc_a, top_a, sum_a, acc_b, top_b, sum_b):
    """Two partial softmaxes into one: weighted values, largest score, sum of weights relative to it."""
    top = tl.maximum(top_a, top_b)
    a, b = tl.exp(top_a - top), tl.exp(top_b - top)
    return acc_a * a[:, None] + acc_b * b[:, None], top, sum_a * a + sum_b * b


@triton.jit
def read_keys(
    cache, table, at, stop, head, G: tl.constexpr, S: tl.constexpr, WIDTH: tl.constexpr, PADDED: tl.constexpr
):
    """Keys or values [N, PADDED] at positions ``at`` through one request's block table; zero from ``stop`` on."""
    columns = tl.arange(0, PADDED)
    block = tl.load(table + at // S, mask=at < stop, other=0).to(tl.int64)
    rows = ((block * S + at % S) * G + head) * WIDTH
    mask = (at < stop)[:, None] & (columns < WIDTH)[None, :]
    return tl.load(cache + rows[:, None] + columns[None, :], mask=mask, other=0.0)


@triton.jit
def one_split(
    q, keys, values, table, low, high, start, stop, head, scale,
    SOFTCAP: tl.constexpr, M: tl.constexpr, N: tl.constexpr, G: tl.constexpr, S: tl.constexpr,
    D: tl.constexpr, PD: tl.constexpr, V: tl.constexpr, PV: tl.constexpr, WIDEN: tl.constexpr,
):  # fmt: skip
    """A tile's softmax over positions ``start`` to ``stop`` - 1, in blocks of N. Row m sees ``low[m]``..``high[m]``."""
    acc = tl.zeros([M, PV], tl.float32)
    top = tl.full([M], NEVER, tl.float32)
    total = tl.zeros([M], tl.float32)
    for first in range(start, stop, N):
        at = first + tl.arange(0, N)
        k = read_keys(keys, table, at, stop, head, G, S, D, PD)
        scores = product(q, tl.trans(k), WIDEN) * scale
        if SOFTCAP > 0.0:
            scores = SOFTCAP * (2.0 * tl.sigmoid(2.0 * scores / SOFTCAP) - 1.0)
        visible = (at[None, :] >= low[:, None]) & (at[None, :] <= high[:, None]) & (at < stop)[None, :]
        scores = tl.where(visible, scores, NEVER)
        new_top = tl.maximum(top, tl.max(scores, 1))
        weights = tl.where(visible, tl.exp(scores - new_top[:, None]), 0.0)
        old = tl.exp(top - new_top)
        v = read_keys(values, table, at, stop, head, G, S, V, PV)
        acc = acc * old[:, None] + product(weights.to(v.dtype), v, WIDEN)
        total = total * old + tl.sum(weights, 1)
        top = new_top
    return acc, top, total


@triton.jit(
    do_not_specialize=["table_stride", "window", "splits"],  # they change from step to step
    do_not_specialize_on_alignment=["tiles", "spans", "tables"],
)
def attend_kernel(
    q, keys, values, out, part, stats, tiles, spans, tables, q_token, q_head, table_stride, scale, window, splits,
    SOFTCAP: tl.constexpr, H: tl.constexpr, G: tl.constexpr, D: tl.constexpr, PD: tl.constexpr, V: tl.constexpr,
    PV: tl.constexpr, S: tl.constexpr, M: tl.constexpr, N: tl.constexpr, SPLIT: tl.constexpr, WHOLE: tl.constexpr,
    WIDEN: tl.constexpr,
):  # fmt: skip
    """One tile and one key head. WHOLE: all splits here, into ``out`` [T, H, V]. Else: split ``program_id(2)`` into
    ``part`` [T, H, P, V] (not yet divided) and ``stats`` [T, H, P, 2] (largest score, sum), for combine_kernel.
    """
    tile, head = tl.program_id(0), tl.program_id(1)
    R: tl.constexpr = H // G
    request = tl.load(tiles + tile * 3).to(tl.int64)
    first_row = tl.load(tiles + tile * 3 + 1)
    count = tl.load(tiles + tile * 3 + 2)
    m = tl.arange(0, M)
    live = m // R < count
    token = (first_row + m // R).to(tl.int64)
    position = tl.load(spans + token * 3, mask=live, other=0)
    high = tl.load(spans + token * 3 + 2, mask=live, other=-1)
    low = tl.load(spans + token * 3 + 1, mask=live, other=0)
    low = tl.maximum(tl.minimum(low, position - window + 1), 0)
    rows = token * H + head * R + m % R
    d, v = tl.arange(0, PD), tl.arange(0, PV)
    query = token * q_token + (head * R + m % R) * q_head
    x = tl.load(q + query[:, None] + d[None, :], mask=live[:, None] & (d < D)[None, :], other=0.0)
    lowest, stop = tl.min(tl.where(live, low, 2147483647), 0), tl.max(high, 0) + 1
    table = tables + request * table_stride
    if WHOLE:
        acc = tl.zeros([M, PV], tl.float32)
        top = tl.full([M], NEVER, tl.float32)
        total = tl.zeros([M], tl.float32)
        for start in range(lowest // SPLIT * SPLIT, stop, SPLIT):
            acc_s, top_s, total_s = one_split(
                x, keys, values, table, low, high, start, tl.minimum(start + SPLIT, stop), head, scale, SOFTCAP,
                M, N, G, S, D, PD, V, PV, WIDEN,
            )  # fmt: skip
            acc, top, total = merge(acc, top, total, acc_s, top_s, total_s)
        result = acc / tl.where(total > 0.0, total, 1.0)[:, None]
        tl.store(
            out + rows[:, None] * V + v[None, :], result.to(out.dtype.element_ty), mask=live[:, None] & (v < V)[None, :]
        )
    else:
        split = tl.program_id(2)
        start = split * SPLIT
        if (start < stop) & (start + SPLIT > lowest):
            acc, top, total = one_split(
                x, keys, values, table, low, high, start, tl.minimum(start + SPLIT, stop), head, scale, SOFTCAP,
                M, N, G, S, D, PD, V, PV, WIDEN,
            )  # fmt: skip
            place = rows * splits + split
            tl.store(part + place[:, None] * V + v[None, :], acc, mask=live[:, None] & (v < V)[None, :])
            tl.store(stats + place * 2, top, mask=live)
            tl.store(stats + place * 2 + 1, total, mask=live)


@triton.jit(do_not_specialize=["window", "splits"])
def combine_kernel(
    part, stats, out, spans, window, splits,
    H: tl.constexpr, V: tl.constexpr, PV: tl.constexpr, SPLIT: tl.constexpr,
):  # fmt: skip
    """One row and query head: its splits merged in order, as attend_kernel does with WHOLE, and divided."""
    token = tl.program_id(0).to(tl.int64)
    row = token * H + tl.program_id(1)
    low = tl.minimum(tl.load(spans + token * 3 + 1), tl.load(spans + token * 3) - window + 1)
    high = tl.load(spans + token * 3 + 2)
    v = tl.arange(0, PV)
    acc = tl.zeros([1, PV], tl.float32)
    top = tl.full([1], NEVER, tl.float32)
    total = tl.zeros([1], tl.float32)
    for split in range(tl.maximum(low, 0) // SPLIT, high // SPLIT + 1):
        place = row * splits + split + tl.zeros([1], tl.int64)
        acc_s = tl.load(part + place[:, None] * V + v[None, :], mask=(v < V)[None, :], other=0.0)
        acc, top, total = merge(acc, top, total, acc_s, tl.load(stats + place * 2), tl.load(stats + place * 2 + 1))
    result = (acc / tl.where(total > 0.0, total, 1.0)[:, None]).to(out.dtype.element_ty)
    place = row + tl.zeros([1], tl.int64)
    tl.store(out + place[:, None] * V + v[None, :], result, mask=(v < V)[None, :])
