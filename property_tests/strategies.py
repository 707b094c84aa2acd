"""What the properties are fed: sizes, prompts, layouts and encoder batches, built so that the right answer is known.

Every strategy draws its answer along with its input, so a test compares with how a case was made, not with a second
run of the code under test. The sizes that bug reports needed come first, as explicit examples.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from hypothesis import example, target
from hypothesis import strategies as st

from harness.implementations.base import Grid, Row, Segment, Size, Span

PLACEHOLDER = 7
SEPARATOR = (9, 8)
"""What stands between two spans of one item: vision end, vision start."""

REPORTED_SIZES: tuple[Size, ...] = (
    (365, 211), (153, 174), (337, 337), (161, 184), (11, 3), (26, 28), (332, 27), (2, 2), (1093, 5),
)  # fmt: skip
"""(width, height) of images in bug reports: near rounding edges, thinner than a patch, 200 times as wide as high."""


def with_reported_sizes(test: Callable[..., Any]) -> Callable[..., Any]:
    """Try every reported size, as it is and transposed, before any drawn one. The test's argument is ``size``."""
    for width, height in REPORTED_SIZES:
        test = example(size=(width, height))(test)
        if width != height:
            test = example(size=(height, width))(test)
    return test


def sizes(limit: int = 2000) -> st.SearchStrategy[Size]:
    """Any size, with a leaning to the edges where rounding to 28 pixels turns over."""
    edge = st.builds(lambda k, off: max(1, 14 * k + off), st.integers(1, limit // 14), st.integers(-2, 2))
    side = st.one_of(st.integers(1, limit), edge)
    return st.tuples(side, side)


def steer_to_edges(size: Size, cell: int = 28) -> Size:
    """The size itself; hypothesis is told how near both sides are to where rounding turns over, and goes there."""
    target(-max(abs(side / cell % 1 - 0.5) for side in size), label="distance from a rounding edge")
    return size


def text_ids(max_size: int = 12) -> st.SearchStrategy[list[int]]:
    """Any ids but the placeholder's, the separator's among them: no canonical tokenization is assumed."""
    return st.lists(st.integers(0, 1023).filter(lambda token: token != PLACEHOLDER), max_size=max_size)


@dataclass(frozen=True)
class Layout:
    """A prompt before and after expansion, known by construction."""

    ids: list[int]
    replacements: list[list[int]]
    expanded: list[int]
    spans: list[list[Span]]
    counts: list[list[int]]

    @property
    def placeholders(self) -> int:
        return self.ids.count(PLACEHOLDER)


def build_layout(texts: list[list[int]], counts: list[list[int]]) -> Layout:
    """Item k, of ``counts[k]`` tokens a span, stands between ``texts[k]`` and ``texts[k + 1]``."""
    ids, expanded = list(texts[0]), list(texts[0])
    replacements: list[list[int]] = []
    spans: list[list[Span]] = []
    for text, item in zip(texts[1:], counts, strict=True):
        replacement: list[int] = []
        item_spans: list[Span] = []
        for count in item:
            replacement += SEPARATOR if replacement else ()
            start = len(expanded) + len(replacement)
            item_spans.append((start, start + count - 1))
            replacement += [PLACEHOLDER] * count
        ids += [PLACEHOLDER, *text]
        expanded += [*replacement, *text]
        replacements.append(replacement)
        spans.append(item_spans)
    return Layout(ids, replacements, expanded, spans, counts)


def span_counts(max_spans: int = 4, max_tokens: int = 9) -> st.SearchStrategy[list[int]]:
    """Tokens of the spans of one item; one span is the common case."""
    one = st.lists(st.integers(1, max_tokens), min_size=1, max_size=1)
    return st.one_of(one, st.lists(st.integers(1, max_tokens), min_size=1, max_size=max_spans))


@st.composite
def layouts(draw: st.DrawFn, min_items: int = 0, max_items: int = 5, max_spans: int = 4) -> Layout:
    """Prompts with images first, last, adjacent, of several spans; texts may be empty."""
    counts = draw(st.lists(span_counts(max_spans), min_size=min_items, max_size=max_items))
    texts = draw(st.lists(text_ids(), min_size=len(counts) + 1, max_size=len(counts) + 1))
    return build_layout(texts, counts)


@dataclass(frozen=True)
class Placed:
    """A prompt for positions: spans in order with their grids, and its length."""

    length: int
    spans: list[Span]
    grids: list[Grid]
    merge_size: int


def build_placed(gaps: list[int], cells: list[tuple[int, int]], merge_size: int = 2) -> Placed:
    """Span k, of ``cells[k]`` (rows, columns) tokens, comes after ``gaps[k]`` text tokens."""
    spans: list[Span] = []
    position = gaps[0]
    for gap, (rows, columns) in zip(gaps[1:], cells, strict=True):
        spans.append((position, position + rows * columns - 1))
        position += rows * columns + gap
    grids = [(1, rows * merge_size, columns * merge_size) for rows, columns in cells]
    return Placed(position, spans, grids, merge_size)


@st.composite
def placed_prompts(draw: st.DrawFn, max_spans: int = 5, min_gap: int = 1) -> Placed:
    """Prompts with up to ``max_spans`` image spans, square and oblong, ``min_gap`` text tokens or more between them."""
    cells = draw(st.lists(st.tuples(st.integers(1, 8), st.integers(1, 8)), max_size=max_spans))
    first, last = draw(st.integers(0 if cells else 1, 6)), draw(st.integers(0, 6))
    between = draw(st.lists(st.integers(min_gap, 6), min_size=len(cells) - 1, max_size=len(cells) - 1)) if cells else []
    gaps = [first, *between, last] if cells else [first]
    return build_placed(gaps, cells, draw(st.sampled_from([1, 2])))


@dataclass(frozen=True)
class EncoderBatch:
    """Items of several requests in one encoder pass, every row distinct, and what each item must get back."""

    items: list[list[Row]]
    counts: list[list[int]]

    @property
    def rows(self) -> list[Row]:
        return [row for item in self.items for row in item]


def build_batch(counts: list[list[int]], width: int = 2) -> EncoderBatch:
    """Rows numbered through the whole batch, so that a row in the wrong place is seen to be."""
    items: list[list[Row]] = []
    first = 0
    for count in map(sum, counts):
        items.append([tuple(float(number * width + k) for k in range(width)) for number in range(first, first + count)])
        first += count
    return EncoderBatch(items, counts)


def batches(min_items: int = 1, max_items: int = 6) -> st.SearchStrategy[EncoderBatch]:
    """Any mix of items of one span and of several."""
    return st.lists(span_counts(), min_size=min_items, max_size=max_items).map(build_batch)


def segment(kind: Literal["image", "video"], grid: Grid, seconds: float = 1.0, merge_size: int = 2) -> Segment:
    """One image or video of a grid that is counted in merged cells here and in patches there."""
    frames, rows, columns = grid
    return Segment(kind, frames * rows * columns, (frames, rows * merge_size, columns * merge_size), seconds)


def words(length: int) -> Segment:
    return Segment("text", length)


@st.composite
def segmented(draw: st.DrawFn, videos: bool = False) -> list[Segment]:
    """Text, then up to four images (and videos, if asked for) with text after each; the last may have none."""
    cells = st.integers(1, 5)
    found = [words(draw(st.integers(1, 6)))]
    for _ in range(draw(st.integers(0, 4))):
        if videos and draw(st.booleans()):
            seconds = draw(st.sampled_from([0.25, 0.5, 1.0, 1.5, 2.0]))
            found.append(segment("video", (draw(st.sampled_from([2, 4, 8])), draw(cells), draw(cells)), seconds))
        else:
            found.append(segment("image", (1, draw(cells), draw(cells))))
        found.append(words(draw(st.integers(1, 6))))
    return found[:-1] if len(found) > 1 and draw(st.booleans()) else found
