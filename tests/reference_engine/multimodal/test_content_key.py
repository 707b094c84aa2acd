"""A content key changes with everything that rows depend on, and with nothing else (invariant 4)."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch

from reference_engine.multimodal.content_key import content_key

PIXELS = torch.arange(24.0).reshape(4, 6)
GRIDS = [(1, 2, 2)]


def changed(**parts: Any) -> bytes:
    given = {"tensors": {"pixels": PIXELS}, "grids": GRIDS, "options": "max_pixels=9"} | parts
    return content_key(given["tensors"], given["grids"], given["options"])


@pytest.mark.parametrize(
    "other",
    [
        {"tensors": {"pixels": PIXELS.reshape(6, 4)}},
        {"tensors": {"pixels": PIXELS.to(torch.float64)}},
        {"tensors": {"pixels": PIXELS.view(torch.int32)}},
        {"tensors": {"pixels": torch.cat([PIXELS.flatten()[:-1], torch.tensor([23.5])]).reshape(4, 6)}},
        {"tensors": {"frames": PIXELS}},
        {"tensors": {"pixels": PIXELS[:2], "more": PIXELS[2:]}},
        {"grids": [(1, 1, 4)]},
        {"grids": [(1, 2, 1), (1, 2, 1)]},
        {"options": "max_pixels=8"},
    ],
    ids=lambda other: next(iter(other)),
)
def test_every_part_counts(other: dict[str, Any]) -> None:
    assert changed(**other) != changed()
    assert len(changed(**other)) == 32


def test_parts_do_not_run_into_each_other() -> None:
    assert content_key({}, [], "a[]") != content_key({}, [], "a")
    assert changed(options="") != changed(options="[(1, 2, 2)]")


def test_layout_in_memory_and_order_of_names_do_not_count() -> None:
    assert changed(tensors={"pixels": PIXELS.T.contiguous().T}) == changed()
    two = {"a": PIXELS, "b": PIXELS + 1}
    assert changed(tensors=two) == changed(tensors=dict(reversed(two.items())))


def test_bfloat16_and_no_values_at_all_have_keys() -> None:
    assert changed(tensors={"pixels": PIXELS.bfloat16()}) != changed(tensors={"pixels": PIXELS[:0]})


def test_another_process_makes_the_same_key() -> None:
    code = (
        "import torch; from reference_engine.multimodal.content_key import content_key as k; "
        "print(k({'pixels': torch.arange(24.0).reshape(4, 6)}, [(1, 2, 2)], 'max_pixels=9').hex())"
    )
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert made.stdout.strip() == changed().hex()
