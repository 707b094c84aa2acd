"""Invariants 1 and 10 in every family of processors and models that an implementation knows."""

from __future__ import annotations

from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from harness.implementations.base import MeasureImage, PlaceSegments, Segment, Size
from property_tests.spec import segment_positions, video_grids
from property_tests.strategies import segment, segmented, sizes, steer_to_edges, with_reported_sizes, words

WIDE, TALL = segment("image", (1, 1, 4)), segment("image", (1, 4, 1))
LONG, BROAD = segment("video", (8, 2, 2), 0.5), segment("video", (2, 3, 5), 0.5)
few = settings(max_examples=settings().max_examples // 10)
"""A whole processor runs for each example."""


@with_reported_sizes
@few
@given(size=sizes(700))
def test_tokens_counted_by_size_are_those_that_run(measure_image: MeasureImage, family: str, size: Size) -> None:
    """vllm#45244: what a scheduler plans with, and what the processor makes of the pixels."""
    measured = measure_image(family, steer_to_edges(size))
    assert measured.counted == measured.run


@example(prompt=[words(3)], padding=0)
@example(prompt=[words(1), WIDE, words(2), TALL], padding=0)
@example(prompt=[words(2), TALL, words(1), WIDE, words(4)], padding=3)
@given(prompt=segmented(), padding=st.integers(0, 4))
def test_images_are_placed_as_published(
    place_segments: PlaceSegments, family: str, prompt: list[Segment], padding: int
) -> None:
    assert place_segments(family, prompt, padding) == segment_positions(family, prompt)


@example(prompt=[words(1), BROAD, words(2)], padding=0)
@example(prompt=[words(1), BROAD], padding=2)
@example(prompt=[words(1), WIDE, words(1), BROAD, words(2), TALL, words(1)], padding=0)
@given(prompt=segmented(videos=True), padding=st.integers(0, 4))
def test_videos_that_are_broader_than_long_are_placed_as_published(
    place_segments: PlaceSegments, family: str, prompt: list[Segment], padding: int
) -> None:
    spread = spread_frames(family, prompt)
    assume(not any(reaches_past_its_frame(family, part) for part in spread))
    assert place_segments(family, spread, padding) == segment_positions(family, spread)


@example(prompt=[words(1), LONG, words(3)])
@example(prompt=[words(1), LONG])
@given(prompt=segmented(videos=True))
def test_text_after_a_long_video_comes_after_its_last_frame(
    place_segments: PlaceSegments, family: str, prompt: list[Segment]
) -> None:
    spread = spread_frames(family, prompt)
    assert place_segments(family, spread, 0) == segment_positions(family, spread)


def spread_frames(family: str, prompt: list[Segment]) -> list[Segment]:
    """Every video as the spans that the family makes of it, a timestamp of one token between them."""
    spread: list[Segment] = []
    for part in prompt:
        if part.kind != "video":
            spread.append(part)
            continue
        spans = [
            Segment("video", t * h * w // 4, (t, h, w), part.seconds) for t, h, w in video_grids(family, part.grid)
        ]
        spread += [piece for span in spans for piece in (span, words(1))][:-1]
    return spread


def reaches_past_its_frame(family: str, part: Segment) -> bool:
    """Whether a span's largest number is one of time, not of height or width."""
    alone = segment_positions(family, [part])
    return part.kind != "text" and max(alone.rows[0]) > max(*alone.rows[1], *alone.rows[2])
