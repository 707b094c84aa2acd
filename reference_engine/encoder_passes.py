"""Encoder passes of running requests: started when somebody lacks rows, and their rows handed to the cache.

Every item is encoded once, whoever waits for it and however long that takes. What becomes of an item's error is the
engine's matter: it comes back with the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from reference_engine.encoder_cache import EncoderCache, Entry
from reference_engine.encoder_stream import EncoderStream, Pending
from reference_engine.live_request import LiveRequest
from reference_engine.multimodal.prompt import PreparedItem, PromptBuilder
from reference_engine.vision import VisionStage


@dataclass(eq=False)
class Encoding:
    """A pass under way, and the cache entries that it fills. An entry that nobody wants any more is filled for
    nobody.
    """

    entries: list[Entry]
    pending: Pending


class EncoderPasses:
    def __init__(
        self, vision: VisionStage, stream: EncoderStream, rows: EncoderCache, prompts: PromptBuilder,
        is_pending: Callable[[Entry], bool],
    ) -> None:  # fmt: skip
        self.vision, self.stream, self.rows, self.prompts = vision, stream, rows, prompts
        self.is_pending = is_pending
        self.under_way: list[Encoding] = []

    def start(self, running: Iterable[LiveRequest]) -> None:
        """A pass over all images that something running has still to lay and that none is under way for."""
        known = {entry for encoding in self.under_way for entry in encoding.entries}
        fresh: dict[Entry, PreparedItem] = {}
        for live in running:
            lacking = {i: entry for i, entry in live.pins.items() if self.is_pending(entry)}
            new = {entry: i for i, entry in lacking.items() if entry not in known and entry not in fresh}
            if new and not live.has_pixels:
                live.prompt = self.prompts.with_pixels(live.request, live.prompt)
            fresh |= {entry: live.prompt.items[i] for entry, i in new.items()}
        if fresh:
            items = list(fresh.values())
            pending = self.stream.start(lambda: self.vision.encode([items])[0])
            self.under_way.append(Encoding(list(fresh), pending))

    def take(self, *, wait: bool = False) -> None:
        """Rows that have come go to the cache; with ``wait`` those that were started first, however long they take."""
        ready = [e for i, e in enumerate(self.under_way) if (wait and i == 0) or e.pending.ready()]
        self.under_way = [e for e in self.under_way if e not in ready]
        for encoding in ready:
            for entry, part in zip(encoding.entries, encoding.pending.result(), strict=True):
                self.rows.fill(entry, part)
