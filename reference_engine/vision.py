"""The encoder stage: images of admitted requests in, one tensor of rows an item out, or that item's own error.

An item may own several spans. A pass encodes one item, or those of all requests waiting; the encoder says how many
rows it returned for each span, and the rows are split by that, then checked against every span of the
item. Rows are never padded, truncated or scaled to fit: a mismatch is an :class:`EncoderMismatch`, which fails one
request.

Shapes: R rows, D their width.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from reference_engine.config import ViTBatching
from reference_engine.errors import EncoderMismatch, RequestError
from reference_engine.multimodal.placeholders import Span
from reference_engine.multimodal.prompt import PreparedItem

logger = logging.getLogger(__name__)

Encoder = Callable[[Sequence[PreparedItem]], "list[list[Tensor]]"]
"""Items of one modality -> rows [r, D] of each span of each, as many as really came back."""
SplitRows = Callable[[Tensor, Sequence[Sequence[int]], Sequence[Sequence[Span]]], "list[Tensor | EncoderMismatch]"]
MAX_VALUES_A_PASS = 1 << 26
"""Bounds the memory of one pass, in values of its inputs; a single larger item still gets a pass of its own."""


def encode_pass(encode: Encoder, items: Sequence[PreparedItem]) -> list[list[Tensor]]:
    """One pass of the encoder. Keeps nothing, reads nothing back."""
    return encode(items)


def split_rows(
    rows_RD: Tensor, row_counts: Sequence[Sequence[int]], spans: Sequence[Sequence[Span]]
) -> list[Tensor | EncoderMismatch]:
    """Cut one pass's rows into items. ``row_counts`` holds, per item and span, the rows the encoder RETURNED.

    An item's rows are all of its spans' rows; each span must hold exactly as many placeholders. Where one does not, the
    item gets an :class:`EncoderMismatch` instead of rows, and its neighbours keep their own.
    """
    sizes = [sum(counts) for counts in row_counts]
    if sum(sizes) != len(rows_RD):
        raise ValueError(f"the encoder returned {len(rows_RD)} rows but reported {sizes}")
    split: list[Tensor | EncoderMismatch] = []
    for item, (rows, counts, item_spans) in enumerate(zip(rows_RD.split(sizes), row_counts, spans, strict=True)):
        holds = span_lengths(item_spans)
        fits = list(counts) == holds
        split.append(rows if fits else EncoderMismatch(item, list(item_spans), sum(holds), sum(counts)))
    return split


def span_lengths(spans: Sequence[Span]) -> list[int]:
    """Placeholders each span holds."""
    return [end - start + 1 for start, end in spans]


@dataclass(frozen=True)
class EncodedItem:
    """What one item got: its rows, or why not."""

    rows_RD: Tensor | None
    error: RequestError | None
    row_counts: list[int]
    """Rows assigned to each of its spans."""
    pass_items: int
    """Items that shared the pass."""
    waiting_items: int = 1
    """Items there were to encode at that moment, in however many passes."""

    def error_of(self, item: PreparedItem) -> RequestError | None:
        """The error as it concerns ``item``: the same content, perhaps another number of another request."""
        if isinstance(self.error, EncoderMismatch):
            expected, rows = self.error.expected, self.error.rows
            return EncoderMismatch(item.index, item.spans, expected, rows, modality=item.modality)
        return self.error and RequestError(item.field, self.error.message, status=self.error.status)


@dataclass(frozen=True)
class _Job:
    request: int
    item: PreparedItem


class VisionStage:
    """Encodes what is waiting, in passes as the toggle says, and counts what it did."""

    def __init__(self, encoder: Encoder, batching: ViTBatching, split: SplitRows = split_rows) -> None:
        self.encoder = encoder
        self.batching = batching
        self.split = split
        self.passes = 0
        self.items = 0
        self.seconds = 0.0

    def encode(self, requests: Sequence[Sequence[PreparedItem]]) -> list[list[EncodedItem]]:
        """Every request's items, in order. Raises nothing for what a single item does wrong."""
        jobs = [_Job(i, item) for i, items in enumerate(requests) for item in items]
        encoded: list[list[EncodedItem]] = [[] for _ in requests]
        for group in self._passes(jobs):
            for job, result in zip(group, self._run_isolated(group), strict=True):
                encoded[job.request].append(replace(result, waiting_items=len(jobs)))
        return encoded

    def _passes(self, jobs: Sequence[_Job]) -> Iterator[list[_Job]]:
        group: list[_Job] = []
        values = 0
        for job in jobs:
            size = sum(tensor.numel() for tensor in job.item.pixels.values())
            alone = self.batching == "per_item" or (group and group[-1].item.modality != job.item.modality)
            if group and (alone or values + size > MAX_VALUES_A_PASS):
                yield group
                group, values = [], 0
            group.append(job)
            values += size
        if group:
            yield group

    def _run_isolated(self, group: list[_Job]) -> list[EncodedItem]:
        """One pass; if it raises, one pass an item, so that only the item at fault fails."""
        try:
            return self._run(group)
        except Exception as error:
            if len(group) > 1:
                logger.warning("encoder pass over %d items failed (%s); encoding them one by one", len(group), error)
                return [result for job in group for result in self._run_isolated([job])]
            item = group[0].item
            logger.exception("the encoder failed on %s", item.field)
            wrong = RequestError(item.field, f"the encoder failed: {error}", status=500)
            return [EncodedItem(None, wrong, [0] * len(item.spans), 1)]

    def _run(self, group: list[_Job]) -> list[EncodedItem]:
        items = [job.item for job in group]
        started = time.perf_counter()
        rows = self.encoder(items)
        self.seconds += time.perf_counter() - started
        self.passes += 1
        self.items += len(items)
        counts = [[len(part) for part in parts] for parts in rows]
        split = split_rows if self.batching == "per_item" else self.split
        parts = split(torch.cat([part for of_item in rows for part in of_item]), counts, [i.spans for i in items])
        return [_result(*of_item, len(items)) for of_item in zip(items, parts, counts, strict=True)]


def _result(item: PreparedItem, part: Tensor | EncoderMismatch, counts: list[int], pass_items: int) -> EncodedItem:
    if isinstance(part, EncoderMismatch):
        error = EncoderMismatch(item.index, part.spans, part.expected, part.rows, modality=item.modality)
        return EncodedItem(None, error, _assigned(counts, part.rows), pass_items)
    return EncodedItem(part, None, _assigned(counts, len(part)), pass_items)


def _assigned(counts: list[int], rows: int) -> list[int]:
    """``rows`` laid over an item's spans: the encoder's own counts unless the split gave the item another number."""
    if sum(counts) == rows:
        return counts
    taken = [min(count, max(0, rows - sum(counts[:i]))) for i, count in enumerate(counts)]
    taken[-1] += rows - sum(taken)
    return taken
