"""Random numbers without a state: Philox4x32-10, a function of a key and a counter.

The number that a choice draws for its ``position``-th token is a function of (seed, index of the choice, position) and
of nothing else. So batch mates, order, chunks, preemption and resumption cannot change it, and the choices of one
request (``n`` > 1) never share a number. Triton has the same generator (``tl.philox``): a kernel can draw these very
numbers.

Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.

Shapes: N numbers; words are int64 tensors that hold 32 bits each.
"""

from __future__ import annotations

import torch
from torch import Tensor

WORD = 0xFFFFFFFF
MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)
ROUNDS = 10
BLOCK = 128
"""Positions whose numbers are made at once."""

Words = tuple[Tensor, Tensor, Tensor, Tensor]


def philox(counter: Words, key: tuple[int, int]) -> Words:
    """Four random words [N] from four counter words [N] and two key words."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(ROUNDS):
        product0, product1 = c0 * MULTIPLIERS[0], c2 * MULTIPLIERS[1]  # modulo 2**64, as a signed number
        c0, c1, c2, c3 = _high(product1) ^ c1 ^ k0, product1 & WORD, _high(product0) ^ c3 ^ k1, product0 & WORD
        k0, k1 = (k0 + WEYL[0]) & WORD, (k1 + WEYL[1]) & WORD
    return c0, c1, c2, c3


def _high(product: Tensor) -> Tensor:
    return (product >> 32) & WORD


def uniforms(seed: int, index: int, positions_N: Tensor) -> Tensor:
    """float64 [N] in [0, 1), 53 random bits each. The seed (64 bits) is the key, (position, index) the counter."""
    zero_N = torch.zeros_like(positions_N)
    high_N, low_N, *_ = philox((positions_N, zero_N + index, zero_N, zero_N), (seed & WORD, seed >> 32 & WORD))
    return ((high_N >> 5) * 2**26 + (low_N >> 6)).double() / 2**53


class Draws:
    """The random numbers of one choice, by position. What is kept only saves work: any object gives the same."""

    def __init__(self, seed: int, index: int = 0) -> None:
        self.seed, self.index = seed, index
        self._first = -1
        self._numbers: list[float] = []

    def at(self, position: int) -> float:
        """In [0, 1)."""
        first = position - position % BLOCK
        if first != self._first:
            self._first = first
            self._numbers = uniforms(self.seed, self.index, torch.arange(first, first + BLOCK)).tolist()
        return self._numbers[position - first]
