"""Invariant 4: two inputs that an encoder would tell apart have two keys: bytes, shape and dtype all count."""

from __future__ import annotations

from hypothesis import assume, example, given
from hypothesis import strategies as st

from harness.implementations.base import ItemKey

VALUES = [float(k) for k in range(12)]
shapes = st.sampled_from([(12,), (1, 12), (12, 1), (2, 6), (6, 2), (3, 4), (4, 3), (2, 2, 3)])
pixels = st.lists(st.integers(0, 255).map(float), min_size=12, max_size=12)


@given(values=pixels, shape=shapes)
def test_equal_images_have_equal_keys(item_key: ItemKey, values: list[float], shape: tuple[int, ...]) -> None:
    assert item_key(values, shape, "float32") == item_key(list(values), shape, "float32")


@given(a=pixels, b=pixels, shape=shapes)
def test_other_pixels_have_another_key(
    item_key: ItemKey, a: list[float], b: list[float], shape: tuple[int, ...]
) -> None:
    assume(a != b)
    assert item_key(a, shape, "float32") != item_key(b, shape, "float32")


@example(a=(2, 6), b=(6, 2))
@given(a=shapes, b=shapes)
def test_another_shape_has_another_key(item_key: ItemKey, a: tuple[int, ...], b: tuple[int, ...]) -> None:
    """A wide image and a tall one of the same bytes."""
    assume(a != b)
    assert item_key(VALUES, a, "float32") != item_key(VALUES, b, "float32")


def test_another_dtype_has_another_key(item_key: ItemKey) -> None:
    """The same bytes under another name: zeros are zeros in all of them."""
    zeros = [0.0] * 12
    keys = [item_key(zeros, (12,), dtype) for dtype in ("float32", "int32")]
    assert len(set(keys)) == len(keys)


def test_many_images_have_as_many_keys(item_key: ItemKey) -> None:
    """A key of few bits is shared by some two of them (sglang#36595, LMCache#3301)."""
    keys = {item_key([float(number // 256), float(number % 256)], (2,), "float32") for number in range(1000)}
    assert len(keys) == 1000


def test_the_last_pixel_of_a_large_image_counts(item_key: ItemKey) -> None:
    """vllm-mlx#197 kept the beginning."""
    values = [0.0] * 3000
    assert item_key(values, (3, 1000), "float32") != item_key([*values[:-1], 1.0], (3, 1000), "float32")
