"""Invariant 17, before any token: what a file shows is what is encoded, whatever its format, mode and orientation."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from harness.implementations.base import ImageGeometry, NormalizeImage, Picture, ReadImage, Refusal
from property_tests.pictures import SEE_THROUGH, STORED, Stored, colour, store, stored
from property_tests.spec import patches

GEOMETRY = ImageGeometry(patch_size=4, merge_size=2, min_pixels=64, max_pixels=64 * 64)
COLOURS = [(0, 10, 250), (130, 128, 90), (255, 255, 255), (250, 4, 0), (1, 1, 1), (77, 200, 20)]


@pytest.mark.parametrize("how", STORED)
@example(colours=COLOURS, size=(2, 3))
@example(colours=COLOURS, size=(6, 1))
@example(colours=[(200, 30, 60)], size=(1, 1))
@given(colours=st.lists(colour, min_size=12, max_size=12), size=st.sampled_from([(3, 4), (1, 12), (12, 1)]))
def test_every_mode_is_read_as_its_colours(
    read_image: ReadImage, how: str, colours: list[tuple[int, int, int]], size: tuple[int, int]
) -> None:
    """sglang#26751. Modes with alpha are opaque here; CMYK holds no black ink; 16 bits are gray over their range."""
    file = store(how, size, colours)
    assert read_image(file.data) == file.shows


@example(file=store("RGB", (2, 3), COLOURS, 6))
@example(file=store("RGB", (2, 3), COLOURS, 3))
@example(file=store("RGB", (6, 1), COLOURS, 8))
@given(file=stored(modes=("RGB", "L", "RGBA"), turned=True))
def test_pictures_are_upright(read_image: ReadImage, file: Stored) -> None:
    """sglang#33464: phones store what the sensor saw and a tag that says how the phone was held."""
    assert read_image(file.data) == file.shows


@example(data=SEE_THROUGH)
@given(data=stored(turned=True).map(lambda file: file.data))
def test_reading_twice_is_reading_once(read_image: ReadImage, data: bytes) -> None:
    assert read_image(data) == read_image(data)


@example(file=store("RGB", (2, 3), COLOURS), keep=0.5)
@example(file=store("RGB", (2, 3), COLOURS), keep=0.0)
@given(file=stored(modes=("RGB", "L", "P")), keep=st.floats(0, 0.6))
def test_a_file_that_is_cut_short_is_refused(read_image: ReadImage, file: Stored, keep: float) -> None:
    """Rows that never came are not made up."""
    with pytest.raises(Refusal):
        read_image(file.data[: int(len(file.data) * keep)])


@example(cells=(2, 1), seed=3)
@example(cells=(1, 3), seed=0)
@given(cells=st.tuples(st.integers(1, 3), st.integers(1, 3)), seed=st.integers(0, 1000))
def test_pixels_are_normalized_as_published(normalize_image: NormalizeImage, cells: tuple[int, int], seed: int) -> None:
    """Whole cells, so that nothing is resized: arithmetic and order of patches alone are judged."""
    width, height = cells[0] * GEOMETRY.cell, cells[1] * GEOMETRY.cell
    numbers = [(seed + k * k * 31 + k) % 256 for k in range(3 * width * height)]
    picture = Picture((width, height), list(zip(*[iter(numbers)] * 3, strict=True)))
    made, expected = normalize_image(picture, GEOMETRY), patches(picture, GEOMETRY)
    assert [len(row) for row in made] == [len(row) for row in expected]
    assert (
        max(abs(a - b) for row, right in zip(made, expected, strict=True) for a, b in zip(row, right, strict=True))
        < 1e-4
    )
