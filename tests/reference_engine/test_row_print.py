"""The sketch survives rounding and nothing else; the digest survives nothing."""

from __future__ import annotations

import hashlib

import pytest
import torch

from reference_engine.row_print import NO_ROWS, print_rows

ROWS = torch.randn(12, 64, generator=torch.Generator().manual_seed(0))


def test_rounding_changes_the_digest_alone() -> None:
    nearly = ROWS * (1 + 1e-6)
    assert print_rows(nearly).digest != print_rows(ROWS).digest
    assert print_rows(nearly).sketch == pytest.approx(print_rows(ROWS).sketch, abs=1e-4)


@pytest.mark.parametrize(
    "wrong",
    [ROWS.roll(1, 0), ROWS.flip(0), ROWS[:-1], ROWS.roll(1, 1), ROWS.clone().index_fill_(0, torch.tensor([5]), 0.0)],
)
def test_other_rows_change_both(wrong: torch.Tensor) -> None:
    assert print_rows(wrong).digest != print_rows(ROWS).digest
    assert print_rows(wrong).sketch != pytest.approx(print_rows(ROWS).sketch, abs=1e-2)


def test_the_digest_is_of_little_endian_floats() -> None:
    assert print_rows(ROWS.bfloat16()).digest == hashlib.sha256(ROWS.bfloat16().float().numpy().tobytes()).hexdigest()
    assert print_rows(None).digest == NO_ROWS == hashlib.sha256(b"").hexdigest()
    assert print_rows(None).sketch == ()
