"""The device code of sampling: one program a row takes it from logits to a token. It is launched by
:mod:`reference_engine.kernels.sampling`.

What is drawn is what :mod:`reference_engine.sampler` draws on the CPU for the same seed, choice and position: the same
number of the same generator, the same cuts by the same thresholds, the same order of the vocabulary. The two can differ
only where that number falls within the rounding of an ``exp`` of a border between two tokens.

No vocabulary is sorted. A cut is a threshold: the largest value such that what is not below it still amounts to enough,
k tokens or a probability of p. It is found by its bits, four a pass. A row reads nothing but itself.

Shapes: B rows, V vocabulary; LANES entries read at once, BRANCHES x NARROW compared at once.
"""

import triton
import triton.language as tl

BRANCHES = tl.constexpr(16)
NARROW = tl.constexpr(1024)
LEAST_BITS = tl.constexpr(-2139095041)
"""-inf as ordered bits; what is below them is no number."""


@triton.jit
def ordered_bits(x):
    """float32 as an integer that is ordered as it is; the same change of bits turns it back."""
    bits = x.to(tl.int32, bitcast=True)
    return bits ^ ((bits >> 31) & 0x7FFFFFFF)


@triton.jit
def scaled_logits(row, first, temperature, V: tl.constexpr, LANES: tl.constexpr):
    v = first + tl.arange(0, LANES)
    return tl.div_rn(tl.load(row + v, mask=v < V, other=float("-inf")), temperature)


@triton.jit
def weights(scaled, largest, least):
    """exp of what is kept, 0 for what is not."""
    return tl.where(scaled >= least, tl.exp(scaled - largest), 0.0)


@triton.jit
def sum_of_weights(row, temperature, largest, least, V: tl.constexpr, LANES: tl.constexpr):
    total = tl.zeros([LANES], tl.float64)
    for first in range(0, V, LANES):
        total += weights(scaled_logits(row, first, temperature, V, LANES), largest, least).to(tl.float64)
    return tl.sum(total, 0).to(tl.float32)


@triton.jit
def threshold(row, temperature, largest, least, total, enough, MASS: tl.constexpr, V: tl.constexpr):
    """The largest value such that those not below it are ``enough``: so many logits, or with MASS so much probability.
    -inf where all of them are not."""
    lowest = tl.full([], -2147483648, tl.int64)
    for level in range(8):
        candidates = lowest + (tl.arange(0, BRANCHES).to(tl.int64) << (28 - 4 * level))
        held = tl.zeros([BRANCHES, NARROW], tl.float64)
        for first in range(0, V, NARROW):
            scaled = scaled_logits(row, first, temperature, V, NARROW)
            if MASS:
                value = tl.div_rn(weights(scaled, largest, least), total)
                amount = value.to(tl.float64)
            else:
                value = scaled
                amount = tl.where(first + tl.arange(0, NARROW) < V, 1.0, 0.0).to(tl.float64)
            reached = ordered_bits(value).to(tl.int64)[None, :] >= candidates[:, None]
            held += tl.where(reached, amount[None, :], 0.0)
        lowest = tl.maximum(lowest, tl.max(tl.where(tl.sum(held, 1) >= enough, candidates, -2147483648), 0))
    bits = tl.maximum(lowest, LEAST_BITS).to(tl.int32)
    return (bits ^ ((bits >> 31) & 0x7FFFFFFF)).to(tl.float32, bitcast=True)


@triton.jit
def uniform(seed, index, position):
    """As :func:`reference_engine.philox.uniforms`: in [0, 1), 53 random bits."""
    high, low, _, _ = tl.philox(seed, position.to(tl.int32), index.to(tl.int32), 0, 0)
    return ((high >> 5).to(tl.float64) * 67108864.0 + (low >> 6).to(tl.float64)) / 9007199254740992.0


@triton.jit
def pick_kernel(logits, model_logits, wholes, numbers, out, V: tl.constexpr, LANES: tl.constexpr):
    """``out`` [B, 2]: a row's token, and whether the model's own logits are all finite. ``wholes`` [B, 4]: seed, index,
    position, top-k; ``numbers`` [B, 3]: temperature, top-p, log of min-p. A temperature of 0 takes the first of the
    largest.
    """
    b = tl.program_id(0).to(tl.int64)
    row, model_row = logits + b * V, model_logits + b * V
    temperature = tl.load(numbers + b * 3).to(tl.float32)
    is_greedy = temperature == 0.0
    temperature = tl.where(is_greedy, 1.0, temperature)
    lanes = tl.arange(0, LANES)
    best = tl.full([LANES], float("-inf"), tl.float32)
    best_at = tl.zeros([LANES], tl.int32)
    wrong = tl.zeros([LANES], tl.int32)
    for first in range(0, V, LANES):
        scaled = scaled_logits(row, first, temperature, V, LANES)
        best_at = tl.where(scaled > best, first + lanes, best_at)
        best = tl.maximum(best, scaled)
        raw = tl.load(model_row + first + lanes, mask=first + lanes < V, other=0.0)
        wrong += tl.where(tl.abs(raw) < float("inf"), 0, 1)  # neither is NaN
    largest = tl.max(best, 0)
    token = tl.min(tl.where(best == largest, best_at, V - 1), 0)
    if not is_greedy:
        token = draw(row, wholes + b * 4, numbers + b * 3, temperature, largest, V, LANES)
    tl.store(out + b * 2, token.to(tl.int64))
    tl.store(out + b * 2 + 1, tl.where(tl.max(wrong, 0) == 0, 1, 0).to(tl.int64))


@triton.jit
def draw(row, wholes, numbers, temperature, largest, V: tl.constexpr, LANES: tl.constexpr):
    """The first token whose cumulated probability is above the number of this seed, choice and position; the last one
    that can be drawn where rounding leaves none."""
    top_k = tl.load(wholes + 3)
    top_p, log_min_p = tl.load(numbers + 1), tl.load(numbers + 2).to(tl.float32)
    least = tl.full([], float("-inf"), tl.float32)
    if top_k > 0:
        least = threshold(row, temperature, largest, least, 1.0, top_k.to(tl.float64), False, V)
    total = sum_of_weights(row, temperature, largest, least, V, LANES)
    needed = tl.full([], 0.0, tl.float32)
    if top_p < 1.0:
        needed = threshold(row, temperature, largest, least, total, top_p, True, V)
    floor = largest + log_min_p
    mass = tl.zeros([LANES], tl.float64)
    for first in range(0, V, LANES):
        mass += kept(row, first, temperature, largest, least, floor, total, needed, V, LANES)
    target = uniform(tl.load(wholes), tl.load(wholes + 1), tl.load(wholes + 2)) * tl.sum(mass, 0)
    below = tl.full([], 0.0, tl.float64)
    token, last = tl.full([], V, tl.int32), tl.full([], 0, tl.int32)
    first = 0
    while (first < V) & (token == V):
        part = kept(row, first, temperature, largest, least, floor, total, needed, V, LANES)
        v = first + tl.arange(0, LANES)
        token = tl.min(tl.where((below + tl.cumsum(part, 0) > target) & (part > 0.0), v, V), 0)
        last = tl.maximum(last, tl.max(tl.where(part > 0.0, v, 0), 0))
        below += tl.sum(part, 0)
        first += LANES
    return tl.where(token == V, last, token)


@triton.jit
def kept(row, first, temperature, largest, least, floor, total, needed, V: tl.constexpr, LANES: tl.constexpr):
    """Weights [LANES] of tokens that no cut excludes."""
    scaled = scaled_logits(row, first, temperature, V, LANES)
    weight = weights(scaled, largest, least)
    stays = (tl.div_rn(weight, total) >= needed) & (scaled >= floor)
    return tl.where(stays, weight, 0.0).to(tl.float64)
