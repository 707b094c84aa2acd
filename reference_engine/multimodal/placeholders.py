"""Placeholders: how many tokens a media item is, where they go in the prompt, and how to take them out again.

A caller's ids hold ONE placeholder an item. The model needs as many as the encoder returns rows, so each placeholder is
replaced by what its item's :class:`Layout` says: the feature id repeated, in one run or (for sliced images, and videos
with timestamps) several runs with other tokens around them. Where the runs went is recorded; nothing later looks for
ids again, because a model may sample one and a user may type it.

Pure functions on lists: nothing here tokenizes, pads or truncates. A span is ``(first, last)``, both inclusive. Sizes
are (width, height), as PIL gives them; grids are (t, h, w) in patches, before merging.

>>> expand_input_ids([7, 9, 8], {"image": 9}, [Layout.of_runs([9, 9, 9], 9)])
Expansion(ids=[7, 9, 9, 9, 8], spans=[[(1, 3)]])
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

from reference_engine.errors import RequestError

Modality = Literal["image", "video", "audio"]
Span = tuple[int, int]
Size = tuple[int, int]
Grid = tuple[int, int, int]


class VideoSize(NamedTuple):
    """All that counting needs to know of a video."""

    width: int
    height: int
    frames: int
    fps: float | None
    """Frames a second, as sent."""


ItemSize = Size | VideoSize


@dataclass(frozen=True)
class Layout:
    """What the ONE placeholder of an item becomes. Known from the item's size alone: no pixels, no weights."""

    ids: list[int]
    spans: list[Span]
    """Where its features go, as places in ``ids``; everything else in there is ordinary tokens."""
    grids: list[Grid] = field(default_factory=list)
    """One a span, in families whose positions follow grids (MRoPE); else none."""
    text: str = ""
    """``ids`` written out."""
    modality: Modality = "image"
    closed: bool = True
    """Begins and ends with special tokens, so that text beside it cannot merge with it."""
    strides: list[float] = field(default_factory=list)
    """Positions between two frames of a span, in families that place videos by time; else none."""

    @classmethod
    def of_runs(cls, ids: Sequence[int], feature_id: int) -> Layout:
        """Every maximal run of the feature id is a span."""
        return cls(list(ids), placeholder_runs(ids, feature_id))

    @property
    def counts(self) -> list[int]:
        """Tokens of each span."""
        return [last - first + 1 for first, last in self.spans]

    def core(self, anchors: Collection[int]) -> slice:
        """The part of ``ids`` that stands in any prompt that holds the item expanded: all of it, but for text at the
        ends of a layout that is not closed, which may have merged with the text beside it. A lone token is no proof: it
        may be the placeholder still. ``anchors`` are the ids of placeholders and features.
        """
        places = [place for place, token in enumerate(self.ids) if token in anchors]
        whole = self.closed or len(places) == 1
        return slice(0, len(self.ids)) if whole else slice(places[0], places[-1] + 1)

    @property
    def feature_ids(self) -> frozenset[int]:
        return frozenset(self.ids[first] for first, _ in self.spans)


@dataclass(frozen=True)
class Expansion:
    """Ids as run, and for every item the spans its rows will fill."""

    ids: list[int]
    spans: list[list[Span]]


class LaysOut(Protocol):
    """The part of a model family that counting needs."""

    def layout(self, modality: Modality, size: ItemSize, index: int = 0, count: int = 1) -> Layout: ...


def span_tokens(grid: Grid, merge_size: int) -> int:
    """Tokens of one grid: ``merge_size`` x ``merge_size`` patches become one."""
    t, h, w = grid
    return t * h * w // merge_size**2


def resolve_image_token_counts(family: LaysOut, sizes: Sequence[Size]) -> list[list[int]]:
    """Per image of one request, the tokens of each of its spans; from sizes alone, before any pixel is touched."""
    return [family.layout("image", size, i, len(sizes)).counts for i, size in enumerate(sizes)]


def expand_input_ids(
    ids: Sequence[int], placeholders: Mapping[Modality, int], layouts: Sequence[Layout], *, field: str = "input_ids"
) -> Expansion:
    """Replace each modality's k-th placeholder by its k-th layout; ids that are fully expanded already stay as they
    are. Spans come in the order of ``layouts``.

    Raises :class:`RequestError` (422) naming both counts when the ids hold neither one placeholder an item nor all.
    """
    spans = _spans_if_expanded(ids, placeholders, layouts)
    if spans is not None:
        return Expansion(list(ids), spans)
    for modality, placeholder_id in placeholders.items():
        own = [layout for layout in layouts if layout.modality == modality]
        counts = [sum(layout.counts) for layout in own]
        found = _count(ids, placeholder_id)
        stray = _features_apart(own, placeholder_id).intersection(ids)
        if found != len(counts) or stray:
            raise placeholder_mismatch(field, found + sum(_count(ids, i) for i in stray), counts, modality)
    return _splice(ids, placeholders, layouts)


def _features_apart(layouts: Sequence[Layout], placeholder_id: int) -> frozenset[int]:
    """Feature ids of families that write them with an id of their own (Gemma 3): none stands beside a placeholder that
    is still to be expanded.
    """
    return frozenset().union(*(layout.feature_ids for layout in layouts)) - {placeholder_id}


def contract_input_ids(
    ids: Sequence[int], spans: Sequence[Sequence[Span]], placeholders: Mapping[Modality, int], layouts: Sequence[Layout]
) -> list[int]:
    """:func:`expand_input_ids` undone: the ids sent. ``ValueError`` if a layout is not where its spans say."""
    sent: list[int] = []
    done = 0
    starts = [item[0][0] - layout.spans[0][0] for item, layout in zip(spans, layouts, strict=True)]
    for item in sorted(range(len(layouts)), key=starts.__getitem__):
        layout = layouts[item]
        core = layout.core(_anchors(placeholders, layouts))
        for part in (slice(0, len(layout.ids)), core):
            start, stop = starts[item] + part.start, starts[item] + part.stop
            if start >= done and list(ids[start:stop]) == layout.ids[part]:
                break
        else:
            raise ValueError(f"item {item}: positions {start} to {stop - 1} do not hold its replacement")
        sent += [*ids[done:start], placeholders[layout.modality]]
        done = stop
    return sent + list(ids[done:])


def item_offsets(
    ids: Sequence[int], feature_ids: Collection[int], counts: Sequence[Sequence[int]], *, field: str = "input_ids"
) -> list[list[Span]]:
    """Each item's spans in expanded ids, cut by count, so that items with nothing between them stay apart.

    Raises :class:`RequestError` (422) naming both counts unless the features are exactly those of ``counts``.
    """
    places = [place for place, token in enumerate(ids) if token in feature_ids]
    mismatch = placeholder_mismatch(field, len(places), [sum(c) for c in counts])
    if len(places) != sum(map(sum, counts)):
        raise mismatch
    queue = iter(places)
    runs = [[[next(queue) for _ in range(count)] for count in item] for item in counts]
    if any(run[-1] - run[0] != len(run) - 1 for item in runs for run in item):
        raise mismatch
    return [[(run[0], run[-1]) for run in item] for item in runs]


def build_padded_input_ids(ids: Sequence[int], items: Sequence[tuple[Sequence[Span], int]]) -> list[int]:
    """Ids with every span overwritten by its item's own value, as prefix caches key them (sglang#26116)."""
    padded = list(ids)
    for spans, value in items:
        for start, end in spans:
            padded[start : end + 1] = [value] * (end - start + 1)
    return padded


def placeholder_mismatch(field: str, found: int, counts: Sequence[int], modality: Modality = "image") -> RequestError:
    """The one refusal for a prompt whose placeholders do not match its media."""
    message = f"holds {found} {modality} placeholder(s) but the request has {len(counts)} {modality}(s)"
    if counts:
        total = f"{sum(counts)} = {' + '.join(map(str, counts))}"
        message += f"; expected one of each {modality}, or {total} where they are expanded already"
    return RequestError(field, message, status=422)


def _count(ids: Sequence[int], placeholder_id: int) -> int:
    return sum(1 for token in ids if token == placeholder_id)


def placeholder_runs(ids: Sequence[int], placeholder_id: int) -> list[Span]:
    """Every maximal run of the placeholder id."""
    runs: list[Span] = []
    for place, token in enumerate(ids):
        if token != placeholder_id:
            continue
        if runs and runs[-1][1] == place - 1:
            runs[-1] = (runs[-1][0], place)
        else:
            runs.append((place, place))
    return runs


def _splice(ids: Sequence[int], placeholders: Mapping[Modality, int], layouts: Sequence[Layout]) -> Expansion:
    expanded: list[int] = []
    spans: list[list[Span]] = [[] for _ in layouts]
    queues = _queues(placeholders, layouts)
    for token in ids:
        if token not in queues:
            expanded.append(token)
            continue
        item = queues[token].popleft()
        spans[item] = _shift(layouts[item].spans, len(expanded))
        expanded += layouts[item].ids
    return Expansion(expanded, spans)


def _queues(placeholders: Mapping[Modality, int], layouts: Sequence[Layout]) -> dict[int, deque[int]]:
    """For every placeholder id, its items in order."""
    return {
        placeholder_id: deque(i for i, layout in enumerate(layouts) if layout.modality == modality)
        for modality, placeholder_id in placeholders.items()
    }


def _spans_if_expanded(
    ids: Sequence[int], placeholders: Mapping[Modality, int], layouts: Sequence[Layout]
) -> list[list[Span]] | None:
    """The items' spans if the ids hold every layout (its core), each modality's in order, and no other placeholder."""
    anchors = _anchors(placeholders, layouts)
    firsts = [next(i for i, token in enumerate(layout.ids) if token in anchors) for layout in layouts]
    cores = [layout.core(anchors) for layout in layouts]
    spans: list[list[Span]] = [[] for _ in layouts]
    queues, done, ids = _queues(placeholders, layouts), 0, list(ids)
    for place, token in enumerate(ids):
        if place < done or token not in anchors:
            continue
        for queue in filter(None, queues.values()):
            item, zero = queue[0], place - firsts[queue[0]]
            start, stop = zero + cores[item].start, zero + cores[item].stop
            if start >= done and ids[start:stop] == layouts[item].ids[cores[item]]:
                break
        else:
            return None
        queue.popleft()
        spans[item] = _shift(layouts[item].spans, zero)
        done = stop
    return None if any(queues.values()) else spans


def _anchors(placeholders: Mapping[Modality, int], layouts: Sequence[Layout]) -> frozenset[int]:
    """The ids of all placeholders and features."""
    return frozenset(placeholders.values()).union(*(layout.feature_ids for layout in layouts))


def _shift(spans: Sequence[Span], by: int) -> list[Span]:
    return [(start + by, end + by) for start, end in spans]
