"""Encoder rows, by the content of what they were encoded from: in use, or kept for whoever sends the same again.

An entry is found by the item's content key (see :mod:`~reference_engine.multimodal.content_key`) together with the rows
each of its spans must have; one that does not fit is another entry, never a wrong answer (sglang#36595). Requests *pin*
the entries that they have still to lay, from admission until the last row is laid, and the first to pin an entry has it
encoded for all: whoever comes while that is pending shares it. Requests that wait hold nothing (vllm#31857).

One budget, in rows, holds for pinned and kept entries together. What is pinned is never dropped; of the kept ones the
one unused for longest goes first. With the cache off nothing is kept, and only the choices of one request share.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from reference_engine.block_pool import BlockLeak
from reference_engine.multimodal.prompt import PreparedItem
from reference_engine.row_print import RowPrint, print_rows
from reference_engine.vision import EncodedItem, span_lengths


@dataclass(eq=False)
class Entry:
    """The rows of one item, pending until ``encoded`` is there."""

    key: Hashable
    rows: int
    pins: int = 0
    encoded: EncodedItem | None = None
    _print: RowPrint | None = None

    def row_print(self) -> RowPrint:
        """Fingerprint of the rows, made when somebody first asks."""
        if self._print is None:
            self._print = print_rows(self.encoded.rows_RD if self.encoded else None)
        return self._print


class EncoderCache:
    def __init__(
        self, budget: int, *, keep: bool, count: Callable[[PreparedItem], int] | None = None,
        name: Callable[[PreparedItem, str, bool], Hashable] | None = None,
        may_go: Callable[[Entry], bool] | None = None,
    ) -> None:  # fmt: skip
        """The functions stand for :func:`count_rows`, :func:`entry_key` and :func:`unpinned`."""
        self.budget = budget
        self.keep = keep
        self.count = count or count_rows
        self._name, self._may_go = name or entry_key, may_go or unpinned
        self.hits = self.misses = self.evictions = 0
        self.pinned_rows = self.kept_rows = 0
        self._entries: OrderedDict[Hashable, Entry] = OrderedDict()
        """The one unused for longest first."""

    def key(self, item: PreparedItem, request_id: str) -> Hashable:
        return self._name(item, request_id, self.keep)

    def fits(self, items: Sequence[PreparedItem], request_id: str) -> bool:
        """Whether all of them can be pinned now."""
        new = {self.key(item, request_id): self.count(item) for item in items}
        more = sum(rows for key, rows in new.items() if key not in self._entries or not self._entries[key].pins)
        return self.pinned_rows + more <= self.budget

    def pin(self, item: PreparedItem, request_id: str) -> tuple[Entry, str]:
        """The item's entry, and whether its rows are there (``"cached"``), coming (``"shared"``) or not (``"encoded"``:
        the caller has it encoded and hands the result to :meth:`fill`).
        """
        key = self.key(item, request_id)
        entry = self._entries.get(key)
        source = "encoded" if entry is None else "shared" if entry.encoded is None else "cached"
        self.misses += source == "encoded"
        self.hits += source != "encoded"
        if entry is None:
            entry = self._entries[key] = Entry(key, self.count(item))
        elif not entry.pins:
            self.kept_rows -= entry.rows
        if not entry.pins:
            self.pinned_rows += entry.rows
        entry.pins += 1
        self._entries.move_to_end(key)
        self._shrink()
        return entry, source

    def fill(self, entry: Entry, encoded: EncodedItem) -> None:
        """The rows of a pending entry, or why there are none. They are copied out of the pass they came in."""
        rows_RD = encoded.rows_RD
        entry.encoded = replace(encoded, rows_RD=None if rows_RD is None else rows_RD.clone())

    def unpin(self, entries: Iterable[Entry]) -> None:
        """Rows that were laid, or that nobody wants any more. What failed or is still pending is not kept."""
        for entry in entries:
            if not entry.pins:
                raise BlockLeak(f"encoder rows {entry.key!r} are given back twice")
            entry.pins -= 1
            if entry.pins:
                continue
            self.pinned_rows -= entry.rows
            if self.keep and entry.encoded is not None and entry.encoded.rows_RD is not None:
                self.kept_rows += entry.rows
            else:
                del self._entries[entry.key]

    def _shrink(self) -> None:
        """Drop kept entries until the budget holds."""
        for entry in list(self._entries.values()):
            if self.pinned_rows + self.kept_rows <= self.budget:
                return
            if self._may_go(entry):
                del self._entries[entry.key]
                self.kept_rows -= entry.rows
                self.evictions += 1

    def flush(self) -> None:
        """Drop every kept entry; pinned ones are found by nobody new and dropped when they are given back."""
        for key, entry in list(self._entries.items()):
            del self._entries[key]
            if entry.pins:
                entry.key = object()
                self._entries[entry.key] = entry
        self.kept_rows = 0

    @property
    def bytes(self) -> int:
        """Memory of all rows held."""
        return sum(
            entry.encoded.rows_RD.nbytes
            for entry in self._entries.values()
            if entry.encoded is not None and entry.encoded.rows_RD is not None
        )

    def check(self, pinned: Iterable[Entry]) -> None:
        """Raise :class:`BlockLeak` unless the pins of all requests, and the budget, agree with the books."""
        counted: dict[Entry, int] = {}
        for entry in pinned:
            counted[entry] = counted.get(entry, 0) + 1
        held = list(self._entries.values())
        if counted != {entry: entry.pins for entry in held if entry.pins}:
            raise BlockLeak(f"{len(counted)} encoder entries are pinned by requests; the cache counts otherwise")
        rows = [sum(entry.rows for entry in held if bool(entry.pins) == in_use) for in_use in (True, False)]
        if rows != [self.pinned_rows, self.kept_rows]:
            raise BlockLeak(f"encoder rows pinned and kept are {rows}, not {[self.pinned_rows, self.kept_rows]}")
        for entry in held:
            rows_RD = entry.encoded.rows_RD if entry.encoded is not None else None
            if rows_RD is not None and len(rows_RD) != entry.rows:
                raise BlockLeak(f"an entry counts {entry.rows} encoder rows but holds {len(rows_RD)}")
        if sum(rows) > self.budget:
            raise BlockLeak(f"{sum(rows)} encoder rows are held; the budget is {self.budget}")


def count_rows(item: PreparedItem) -> int:
    """Rows that all spans of an item take."""
    return sum(span_lengths(item.spans))


def entry_key(item: PreparedItem, request_id: str, keep: bool) -> Hashable:
    """What an entry is found by: content and rows; with the cache off, by the choices of one request only."""
    holds = tuple(span_lengths(item.spans))
    return (item.key, holds) if keep else (request_id, item.field, item.key, holds)


def unpinned(entry: Entry) -> bool:
    """Whether it may be dropped: nobody has still to lay its rows."""
    return not entry.pins


def is_pending(entry: Entry) -> bool:
    """Whether its rows are still to be encoded: once, however many chunks lay them (sglang#19474)."""
    return entry.encoded is None


def first_ahead(items: Sequence[PreparedItem], computed: int) -> int:
    """Number of the first item, in the order of their places, of which something is not in the KV cache yet."""
    return next((i for i, item in enumerate(items) if item.spans[-1][1] >= computed), len(items))


def image_window(places_R: Tensor, first: int, start: int, stop: int) -> tuple[slice, slice]:
    """The rows that tokens ``start`` to ``stop - 1`` of a prompt take: which of all its places, and which of the rows
    held, which are those from place number ``first`` on.
    """
    low, high = torch.searchsorted(places_R, torch.tensor([start, stop])).tolist()
    return slice(low, high), slice(low - first, high - first)
