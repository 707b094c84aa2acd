"""Where everything in a prompt goes, from sizes alone: ids with placeholders expanded, spans, positions. No pixels.

Two ways lead from the caller's ids to the ids as run. *In ids* (``avoid_retokenize`` on): every placeholder is
replaced, every other id stays. *Through text* (off, as engines did before sglang#26555): the ids are decoded, the text
expanded and tokenized again, which changes any prompt whose ids are not what the tokenizer would have made. A prompt
sent as text is tokenized once, then expanded in ids. Whichever way was taken is recorded in :class:`Placement`.

The engine runs what this says (:mod:`reference_engine.multimodal.prompt`), and :mod:`reference_engine.predict` tells it
without a model.
"""

from __future__ import annotations

import logging
import re
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from reference_engine.config import EngineConfig
from reference_engine.errors import RequestError
from reference_engine.multimodal.family import Family
from reference_engine.multimodal.mrope import mrope_positions, plain_positions
from reference_engine.multimodal.placeholders import (
    Expansion,
    ItemSize,
    Layout,
    Modality,
    Span,
    contract_input_ids,
    expand_input_ids,
    item_offsets,
    placeholder_mismatch,
    placeholder_runs,
)
from reference_engine.request import Request

logger = logging.getLogger(__name__)


class Tokenizer(Protocol):
    """The part of a tokenizer that prompts need. Special tokens are written out in text, and none is added."""

    vocabulary: int

    def encode(self, text: str) -> list[int]: ...

    def decode(self, ids: Sequence[int]) -> str: ...


@dataclass(frozen=True)
class Slot:
    """One media item of a request by its size alone: all that its place in the prompt depends on."""

    modality: Modality
    index: int
    """Among those of its modality."""
    count: int
    size: ItemSize

    @property
    def field(self) -> str:
        """The request field that it came from."""
        return f"{self.modality}_data[{self.index}]"


@dataclass(frozen=True)
class Placement:
    """How the ids as run came to be."""

    path: str
    """``"ids"``, ``"text"`` or ``"retokenized"``."""
    changed: bool
    """Whether the path taken for the caller's ids made a difference to the ids run."""
    reason: str


@dataclass(frozen=True)
class PlacedPrompt:
    """A prompt as it runs, but for its pixels."""

    ids: list[int]
    slots: list[Slot]
    layouts: list[Layout]
    spans: list[list[Span]]
    """Of each slot, inclusive."""
    positions_3L: Tensor
    delta: int
    placement: Placement


def lay_out(family: Family, slot: Slot) -> Layout:
    """What an item's placeholder becomes, from its size. Raises :class:`RequestError` for one that cannot be served."""
    try:
        return family.layout(slot.modality, slot.size, slot.index, slot.count)
    except RequestError:
        raise
    except ValueError as error:
        width, height = slot.size[:2]
        raise RequestError(slot.field, f"{width}x{height} cannot be served: {error}") from None


def check_ids(ids: Sequence[int], vocabulary: int, refused: Mapping[int, Modality], field: str) -> None:
    """Raises :class:`RequestError` naming the first id that is none of the vocabulary's, or one that is ``refused``."""
    if not ids:
        raise RequestError(field, "the prompt is empty")
    for i, token in enumerate(ids):
        place = f"input_ids[{i}]" if field == "input_ids" else field
        if not isinstance(token, int) or isinstance(token, bool):
            raise RequestError(place, f"{token!r} is not an integer")
        if not 0 <= token < vocabulary:
            raise RequestError(place, f"{token} is not in the vocabulary (0 to {vocabulary - 1})")
        if token in refused:
            raise RequestError(
                place, f"{token} is a {refused[token]} placeholder; {refused[token]}s are not served", status=422
            )


def keeps_ids(config: EngineConfig) -> bool:
    """Whether a caller's ids are expanded as they are (sglang#26555)."""
    return config.avoid_retokenize


@dataclass(frozen=True)
class PlacingSeams:
    """The functions of placing that a fault may replace."""

    expand_input_ids: Callable[..., Expansion] = expand_input_ids
    mrope_positions: Callable[..., tuple[Tensor, int]] = mrope_positions
    lay_out: Callable[[Family, Slot], Layout] = lay_out
    check_ids: Callable[..., None] = check_ids
    keeps_ids: Callable[[EngineConfig], bool] = keeps_ids


PLACING = PlacingSeams()


@dataclass(frozen=True)
class PromptPlacer:
    """Places prompts for one tokenizer and family. No state is held between requests."""

    tokenizer: Tokenizer
    family: Family
    config: EngineConfig
    seams: PlacingSeams = PLACING

    def place(self, request: Request, slots: Sequence[Slot], layouts: Sequence[Layout] | None = None) -> PlacedPrompt:
        """The request's prompt with these items; ``layouts`` where they are known already. Raises
        :class:`RequestError` naming the field; no other exception for any input.
        """
        laid = [self.seams.lay_out(self.family, slot) for slot in slots] if layouts is None else list(layouts)
        expansion, placement = self._expand(request, laid)
        if len(expansion.ids) > self.config.max_prompt_tokens:
            size = (
                f"the prompt has {len(expansion.ids)} tokens, images included; at most {self.config.max_prompt_tokens}"
            )
            raise RequestError(prompt_field(request), size, status=413)
        for slot, layout, spans in zip(slots, laid, expansion.spans, strict=True):
            if [end - start + 1 for start, end in spans] != layout.counts:
                raise layout_mismatch(slot, spans, layout)
        positions_3L, delta = self._positions(len(expansion.ids), laid, expansion.spans)
        return PlacedPrompt(expansion.ids, list(slots), laid, expansion.spans, positions_3L, delta, placement)

    def _positions(self, length: int, layouts: Sequence[Layout], spans: Sequence[Sequence[Span]]) -> tuple[Tensor, int]:
        if not self.family.traits.mrope:
            return plain_positions(length), 0
        placed = sorted(
            (span, grid, stride)
            for layout, item_spans in zip(layouts, spans, strict=True)
            for span, grid, stride in zip(
                item_spans, layout.grids, layout.strides or [1.0] * len(item_spans), strict=True
            )
        )
        in_order, grids, strides = zip(*placed, strict=True) if placed else ((), (), ())
        return self.seams.mrope_positions(length, in_order, grids, self.family.traits.merge_size, strides)

    def _expand(self, request: Request, layouts: list[Layout]) -> tuple[Expansion, Placement]:
        if request.text is not None:
            return self._text(request.text, layouts), Placement("text", False, "the prompt was sent as text")
        ids = self._checked(request.input_ids or [], "input_ids")
        if not layouts:
            return self._in_ids(ids, layouts, "input_ids"), Placement("ids", False, "no media: the ids run as sent")
        if not self.seams.keeps_ids(self.config):
            expansion = self._through_text(ids, layouts)
            return expansion, self._compare(ids, layouts, expansion)
        try:
            expansion = self._in_ids(ids, layouts, "input_ids")
        except RequestError as error:
            return self._fall_back(ids, layouts, error)
        return expansion, self._would_drift(ids, layouts, expansion) if request.want_evidence else _IN_IDS

    def _checked(self, ids: Sequence[int], field: str) -> list[int]:
        refused = {token: modality for modality, token in self.family.traits.refused.items()}
        self.seams.check_ids(ids, self.tokenizer.vocabulary, refused, field)
        return list(ids)

    def _text(self, text: str, layouts: list[Layout]) -> Expansion:
        """Tokenized once, expanded in ids; where a layout could merge with the text beside it, the other way round."""
        ids = self._checked(self.tokenizer.encode(text), "text")
        expansion = self._in_ids(ids, layouts, "text")
        if expansion.ids == ids or all(layout.closed for layout in layouts):
            return expansion
        return self._retokenized(text, layouts)

    def _in_ids(self, ids: list[int], layouts: list[Layout], field: str) -> Expansion:
        return self.seams.expand_input_ids(ids, self.family.placeholders, layouts, field=field)

    def _through_text(self, ids: list[int], layouts: list[Layout]) -> Expansion:
        """Decode, expand as text, tokenize again. A run of placeholders is one item, however long it is.

        What the caller merely spelled like a placeholder is refused by count, here or after tokenizing.
        """
        collapsed = self._collapse(ids, layouts)
        for modality, placeholder_id in self.family.placeholders.items():
            own = [layout for layout in layouts if layout.modality == modality]
            if collapsed.count(placeholder_id) != len(own):
                found = ids.count(placeholder_id)
                raise placeholder_mismatch("input_ids", found, [sum(each.counts) for each in own], modality)
        return self._retokenized(self.tokenizer.decode(collapsed), layouts)

    def _retokenized(self, text: str, layouts: list[Layout]) -> Expansion:
        """Expand a text that holds one written placeholder an item, then tokenize it."""
        written = {text: modality for modality, text in self.family.written.items()}
        queues = {m: deque(i for i, each in enumerate(layouts) if each.modality == m) for m in written.values()}
        order: list[int] = []
        for piece in (pieces := re.split(f"({'|'.join(map(re.escape, written))})", text))[1::2]:
            queue = queues[written[piece]]
            if not queue:
                own = [sum(each.counts) for each in layouts if each.modality == written[piece]]
                raise placeholder_mismatch("input_ids", text.count(piece), own, written[piece])
            order.append(queue.popleft())
        pieces[1::2] = [layouts[item].text for item in order]
        ids = self.tokenizer.encode("".join(pieces))
        features: frozenset[int] = frozenset().union(*(layout.feature_ids for layout in layouts))
        placed = dict(zip(order, item_offsets(ids, features, [layouts[i].counts for i in order]), strict=True))
        return Expansion(ids, [placed[item] for item in range(len(layouts))])

    def _collapse(self, ids: list[int], layouts: list[Layout]) -> list[int]:
        """One placeholder an item: the ids unexpanded or, where they fit no expansion, every run cut to one."""
        placeholders = self.family.placeholders
        try:
            expansion = expand_input_ids(ids, placeholders, layouts)
        except RequestError:
            starts = {start for p in placeholders.values() for start, _ in placeholder_runs(ids, p)}
            return [token for i, token in enumerate(ids) if token not in placeholders.values() or i in starts]
        return contract_input_ids(expansion.ids, expansion.spans, placeholders, layouts)

    def _fall_back(self, ids: list[int], layouts: list[Layout], error: RequestError) -> tuple[Expansion, Placement]:
        """By count the ids cannot be expanded: tokenize again if that places every image, else refuse as before."""
        try:
            expansion = self._through_text(ids, layouts)
        except RequestError:
            raise error from None
        reason = f"expansion in ids failed ({error}); the prompt was decoded and tokenized again"
        logger.warning("avoid_retokenize: %s", reason)
        return expansion, Placement("retokenized", False, reason)

    def _compare(self, ids: list[int], layouts: list[Layout], expansion: Expansion) -> Placement:
        try:
            kept = self._in_ids(ids, layouts, "input_ids").ids
        except RequestError:
            return Placement(
                "retokenized", True, "the ids could not be expanded by count; a run was taken for an image"
            )
        return Placement(
            "retokenized", kept != expansion.ids, f"decoded and tokenized again: {_drift(kept, expansion.ids)}"
        )

    def _would_drift(self, ids: list[int], layouts: list[Layout], expansion: Expansion) -> Placement:
        try:
            again = self._through_text(ids, layouts).ids
        except RequestError as error:
            why = f"expanded in the caller's ids; through text they cannot be placed ({error.message})"
            return Placement("ids", True, why)
        drift = f"expanded in the caller's ids; decoding and tokenizing again gives {_drift(expansion.ids, again)}"
        return Placement("ids", again != expansion.ids, drift)


_IN_IDS = Placement("ids", False, "expanded in the caller's ids; not compared, as no evidence was asked for")


def layout_mismatch(slot: Slot, spans: Sequence[Span], layout: Layout) -> RequestError:
    """Two sides of the engine disagree on an item: its own fault (500), and that request's end."""
    holds = [end - start + 1 for start, end in spans]
    grids = f"grids {layout.grids} make {layout.counts}"
    message = f"spans {list(spans)} hold {holds} placeholders but the {slot.modality}'s {grids} tokens"
    return RequestError(slot.field, message, status=500)


def prompt_field(request: Request) -> str:
    return "text" if request.text is not None else "input_ids"


def _drift(kept: Sequence[int], again: Sequence[int]) -> str:
    if list(kept) == list(again):
        return f"the same {len(kept)} ids"
    return (
        f"{len(again)} ids instead of {len(kept)}" if len(kept) != len(again) else f"{len(kept)} ids, not all the same"
    )
