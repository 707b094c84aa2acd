"""What must hold of cache keys (invariants 4 and 5), as one check of the functions that make them; and every planted
fault of a key fails it.
"""

from __future__ import annotations

import pytest
import torch

from reference_engine.faults import CLEAN, Seams, plant
from reference_engine.prefix_cache import KeyChain

PLACEHOLDER = 9
BROKEN = ("F2-01", "F2-03", "F2-04", "F2-05", "F2-07", "F2-09", "F2-17", "F2-20")


def check_keys(seams: Seams) -> None:
    """Raise ``AssertionError`` unless the keys tell everything apart that must be, and nothing else."""
    images = [torch.randn(16, 100, generator=torch.Generator().manual_seed(seed)) for seed in range(64)]
    end_changed = images[0].clone()
    end_changed[-1, -1] += 1
    parts = [({"pixels": image}, [(1, 4, 4)], "a=1") for image in [*images, end_changed, images[0].reshape(8, 200)]]
    parts += [({"pixels": images[0]}, [(1, 2, 8)], "a=1"), ({"pixels": images[0]}, [(1, 4, 4)], "a=2")]
    keys = [seams.content_key(*part) for part in parts]
    assert len(set(keys)) == len(parts), "two items have one key"
    values = [seams.pad_value(key) for key in keys]
    assert len(set(values)) == len(parts), "two items have one pad value"
    ids = [1, 2, *[PLACEHOLDER] * 6, 3, *[PLACEHOLDER] * 4, 4]
    one, other, longer = (
        block_keys(seams, ids[: 9 if len(items) == 1 else None], items)
        for items in (
            [([(2, 7)], values[0])], [([(2, 7)], values[1])], [([(2, 7)], values[0]), ([(9, 12)], values[1])],
        )
    )  # fmt: skip
    assert [a == b for a, b in zip(one, other, strict=True)] == [True, False, False, False]
    assert longer[: len(one)] == one, "an image that follows changed an earlier key"


def block_keys(seams: Seams, ids: list[int], items: list[tuple[list[tuple[int, int]], int]]) -> list[bytes]:
    chain = KeyChain(2)
    chain.extend(seams.build_padded_input_ids(ids, items))
    return chain.keys


def test_the_keys_are_right() -> None:
    check_keys(CLEAN)


@pytest.mark.parametrize("fault", BROKEN)
def test_a_planted_fault_is_found(fault: str) -> None:
    with pytest.raises(AssertionError):
        check_keys(plant(fault))
