"""The published rules, written from the papers and not from any engine: what the properties compare with.

Slow and obvious on purpose. Nothing here is imported by code under test.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from harness.implementations.base import Grid, ImageGeometry, Picture, Positions, Segment, Size, Span

MOST_OBLONG = 200
"""Images more oblong than this are refused by the published processor."""


def resized(size: Size, geometry: ImageGeometry) -> Size | None:
    """The (width, height) an image is resized to; None where it is refused. Qwen2-VL's dynamic resolution.

    Each side goes to the nearest multiple of the cell (Python's rounding: halves to even). If that holds more pixels
    than allowed, the original is shrunk to fit and rounded down; if fewer, it is enlarged and rounded up.
    """
    width, height = size
    cell = geometry.cell
    if max(size) / min(size) > MOST_OBLONG:
        return None
    new_width, new_height = round(width / cell) * cell, round(height / cell) * cell
    if new_width * new_height > geometry.max_pixels:
        shrink = math.sqrt(width * height / geometry.max_pixels)
        new_width = max(cell, math.floor(width / shrink / cell) * cell)
        new_height = max(cell, math.floor(height / shrink / cell) * cell)
    elif new_width * new_height < geometry.min_pixels:
        enlarge = math.sqrt(geometry.min_pixels / (width * height))
        new_width = math.ceil(width * enlarge / cell) * cell
        new_height = math.ceil(height * enlarge / cell) * cell
    return new_width, new_height


def token_count(size: Size, geometry: ImageGeometry) -> int | None:
    """Tokens of an image that is not cut into bands; None where it is refused."""
    new_size = resized(size, geometry)
    return None if new_size is None else (new_size[0] // geometry.cell) * (new_size[1] // geometry.cell)


def band_heights(height: int, band_cells: int, cell: int) -> list[int]:
    """Whole bands from the top, then the rest; a rest lower than one cell is added to the last band."""
    band = band_cells * cell
    heights = [band] * (height // band) + ([height % band] if height % band else [])
    if len(heights) > 1 and heights[-1] < cell:
        heights[-2:] = [heights[-2] + heights[-1]]
    return heights


def padded(ids: Sequence[int], items: Sequence[tuple[Sequence[Span], int]]) -> list[int]:
    """Position by position: an item's value inside its spans, both ends included, the id itself elsewhere."""
    values = {k: value for spans, value in items for start, end in spans for k in range(start, end + 1)}
    return [values.get(k, token) for k, token in enumerate(ids)]


def mrope(length: int, spans: Sequence[Span], grids: Sequence[Grid], merge_size: int) -> Positions:
    """Multimodal rotary positions, Qwen2-VL section 2.1.

    Text advances all three numbers together. An image keeps one time, and counts rows and columns of its merged grid
    from there. What follows starts one past the largest number so far.
    """
    image_at = {start: grid for (start, _), grid in zip(spans, grids, strict=True)}
    triples: list[tuple[int, int, int]] = []
    nearest_free = 0
    while len(triples) < length:
        if len(triples) not in image_at:
            triples.append((nearest_free,) * 3)
        else:
            frames, height, width = image_at[len(triples)]
            origin = nearest_free
            for frame in range(frames):
                for row in range(height // merge_size):
                    for column in range(width // merge_size):
                        triples.append((origin + frame, origin + row, origin + column))
        nearest_free = max(map(max, triples)) + 1
    return Positions([list(row) for row in zip(*triples, strict=True)], nearest_free - length)


TOKENS_PER_SECOND = 2
"""Of Qwen2.5-VL: its report's section 2.1.2 ties the time row of a video to seconds."""
MERGED_FRAMES = 2
"""Frames of a grid that ERNIE 4.5 VL makes one row of tokens."""
TIMED = {"qwen2_vl": 1.0, "paddleocr_vl": 1.0, "qwen2_5_vl": None, "ernie4_5_vl_moe": 1.0}
"""Families whose video is one span, with the step of its time row (None: by seconds). In all others timestamps stand
between the frames, each a span of its own, as Qwen3-VL's report has it."""


def video_grids(family: str, grid: Grid) -> list[Grid]:
    """The grid of every span that a video becomes, in frames of tokens."""
    frames, height, width = grid
    if family not in TIMED:
        return [(1, height, width)] * frames
    return [(frames // MERGED_FRAMES if family.startswith("ernie") else frames, height, width)]


def segment_positions(family: str, segments: Sequence[Segment], merge_size: int = 2) -> Positions:
    """Rotary positions of text, images and videos in turn; each starts one past the largest number before it.

    Qwen2-VL section 2.1 counts on from the largest number of what came before, whichever row holds it.
    """
    triples: list[tuple[int, int, int]] = []
    for segment in segments:
        origin = max(map(max, triples), default=-1) + 1
        if segment.kind == "text":
            triples += [(origin + k,) * 3 for k in range(segment.length)]
            continue
        step = TIMED.get(family, 1.0) if segment.kind == "video" else 1.0
        step = segment.seconds * TOKENS_PER_SECOND if step is None else step
        frames, height, width = segment.grid
        triples += [
            (origin + int(frame * step), origin + row, origin + column)
            for frame in range(frames)
            for row in range(height // merge_size)
            for column in range(width // merge_size)
        ]
    largest = max(map(max, triples))
    return Positions([list(row) for row in zip(*triples, strict=True)], largest + 1 - len(triples))


def window(positions: Positions, start: int, stop: int) -> list[list[int]]:
    """The prompt's own positions while they last, then index plus delta, the same in all three rows."""
    length = len(positions.rows[0])
    return [[row[k] if k < length else k + positions.delta for k in range(start, stop)] for row in positions.rows]


MEAN, DEVIATION = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
"""Of red, green and blue in CLIP's training data, from its paper's code."""
FRAMES = 2
"""A still image stands for this many frames."""


def patches(picture: Picture, geometry: ImageGeometry) -> list[list[float]]:
    """Encoder input of a picture whose sides are whole cells: patches in the order in which they are merged.

    Each is its channels in turn, each of those its frames, each of those its rows.
    """
    (width, height), size, merge = picture.size, geometry.patch_size, geometry.merge_size
    corners = [
        (top + row * size, left + column * size)
        for top in range(0, height, geometry.cell)
        for left in range(0, width, geometry.cell)
        for row in range(merge)
        for column in range(merge)
    ]
    return [
        [
            (picture.pixels[(top + row) * width + left + column][channel] / 255 - MEAN[channel]) / DEVIATION[channel]
            for channel in range(3)
            for _ in range(FRAMES)
            for row in range(size)
            for column in range(size)
        ]
        for top, left in corners
    ]
