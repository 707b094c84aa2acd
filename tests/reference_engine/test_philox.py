"""The generator gives Random123's published numbers, and each (seed, index, position) its own."""

from __future__ import annotations

import pytest
import torch

from reference_engine.philox import BLOCK, Draws, philox, uniforms

ONES = 0xFFFFFFFF
PI = (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344)


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ((0,) * 4, (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((ONES,) * 4, (ONES, ONES), (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (PI, (0xA4093822, 0x299F31D0), (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1)),
    ],
)
def test_known_answers(counter: tuple[int, ...], key: tuple[int, int], expected: tuple[int, ...]) -> None:
    """The vectors of Random123's kat_vectors for philox4x32 with 10 rounds."""
    c0, c1, c2, c3 = (torch.tensor([word]) for word in counter)
    assert tuple(int(word) for word in philox((c0, c1, c2, c3), key)) == expected


def test_numbers_are_uniform_and_none_is_shared() -> None:
    made = torch.stack([uniforms(seed, i, torch.arange(4096)) for seed in (0, 1, 2**63 - 1) for i in (0, 1)])
    assert len(made.unique()) == made.numel()
    assert made.min() >= 0
    assert made.max() < 1
    counts = torch.histc(made, bins=64, min=0, max=1)
    expected = made.numel() / 64
    assert ((counts - expected) ** 2 / expected).sum() < 119  # chi squared, 63 degrees of freedom, p = 2e-5
    assert torch.corrcoef(made).fill_diagonal_(0).abs().max() < 0.07


def test_positions_may_be_asked_for_in_any_order() -> None:
    expected = uniforms(7, 2, torch.arange(3 * BLOCK)).tolist()
    draws = Draws(7, 2)
    for position in (0, 1, BLOCK, 5, 2 * BLOCK + 3, BLOCK - 1, 0):
        assert draws.at(position) == expected[position]
