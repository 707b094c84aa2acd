"""From a request to a prompt as run: ids with placeholders expanded, items with spans and pixels, positions. CPU only.

Two ways lead from the caller's ids to the ids as run. *In ids* (``avoid_retokenize`` on): every placeholder is
replaced, every other id stays. *Through text* (off, as engines did before sglang#26555): the ids are decoded, the text
expanded and tokenized again, which changes any prompt whose ids are not what the tokenizer would have made. A prompt
sent as text is tokenized once, then expanded in ids. Whichever way was taken is recorded in :class:`Placement`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from PIL import Image
from torch import Tensor

from reference_engine.config import EngineConfig
from reference_engine.errors import RequestError
from reference_engine.multimodal.family import Family
from reference_engine.multimodal.images import load_image
from reference_engine.multimodal.placeholders import (
    Expansion,
    Grid,
    Size,
    Span,
    contract_input_ids,
    expand_input_ids,
    item_offsets,
    placeholder_mismatch,
    placeholder_runs,
    resolve_image_token_counts,
    span_tokens,
)
from reference_engine.prefix_cache import KeyChain
from reference_engine.request import Request

logger = logging.getLogger(__name__)


class Tokenizer(Protocol):
    """The part of a tokenizer that prompts need. Special tokens are written out in text, and none is added."""

    vocabulary: int

    def encode(self, text: str) -> list[int]: ...

    def decode(self, ids: Sequence[int]) -> str: ...


@dataclass(frozen=True)
class PreparedItem:
    """One image as it will be encoded and placed."""

    index: int
    size: Size
    """(width, height) of the image as sent."""
    grids: list[Grid]
    spans: list[Span]
    pixels_PC: Tensor
    key: bytes = b""
    """What every cache knows the item's content by; see :mod:`~reference_engine.multimodal.content_key`."""


@dataclass(frozen=True)
class Placement:
    """How the ids as run came to be."""

    path: str
    """``"ids"``, ``"text"`` or ``"retokenized"``."""
    changed: bool
    """Whether the path taken for the caller's ids made a difference to the ids run."""
    reason: str


@dataclass(frozen=True)
class PreparedPrompt:
    ids: list[int]
    items: list[PreparedItem]
    positions_3L: Tensor
    delta: int
    placement: Placement
    chain: KeyChain | None = None
    """Keys of its KV blocks; None where no prefix is ever reused."""

    def without_pixels(self) -> PreparedPrompt:
        """For after encoding: pixels are by far the largest part of a prompt, and a request may decode for long."""
        return replace(self, items=[replace(item, pixels_PC=item.pixels_PC[:0]) for item in self.items])


@dataclass(frozen=True)
class PromptBuilder:
    """Builds prompts for one engine. Holds no state between requests; safe to call from several threads."""

    tokenizer: Tokenizer
    family: Family
    config: EngineConfig
    expand: Callable[..., Expansion]
    positions: Callable[..., tuple[Tensor, int]]
    unsupported_ids: frozenset[int] = frozenset()
    """Placeholders of media that this engine does not take (video)."""

    def build(self, request: Request) -> PreparedPrompt:
        """Raises :class:`RequestError` naming the field; no other exception for any input."""
        images = self._images(request.images)
        counts = self._counts([image.size for image in images])
        expansion, placement = self._expand(request, counts)
        if len(expansion.ids) > self.config.max_prompt_tokens:
            size = (
                f"the prompt has {len(expansion.ids)} tokens, images included; at most {self.config.max_prompt_tokens}"
            )
            raise RequestError(prompt_field(request), size, status=413)
        items = [self._item(i, image, expansion.spans[i]) for i, image in enumerate(images)]
        spans = [span for item in items for span in item.spans]
        grids = [grid for item in items for grid in item.grids]
        positions_3L, delta = self.positions(len(expansion.ids), spans, grids, self.family.merge_size)
        return PreparedPrompt(expansion.ids, items, positions_3L, delta, placement)

    def with_pixels(self, request: Request, prompt: PreparedPrompt) -> PreparedPrompt:
        """:meth:`PreparedPrompt.without_pixels` undone: they are made again from the request's own images."""
        images = self._images(request.images)
        items = [replace(item, pixels_PC=self.family.patches(images[item.index])[0]) for item in prompt.items]
        return replace(prompt, items=items)

    def _images(self, images: Sequence[Image.Image]) -> list[Image.Image]:
        if len(images) > self.config.max_images:
            raise RequestError("image_data", f"{len(images)} images; at most {self.config.max_images}", status=413)
        limit = self.config.max_image_pixels
        return [load_image(image, field=f"image_data[{i}]", max_pixels=limit) for i, image in enumerate(images)]

    def _counts(self, sizes: Sequence[Size]) -> list[list[int]]:
        counts = []
        for i, size in enumerate(sizes):
            try:
                counts += resolve_image_token_counts(self.family, [size])
            except ValueError as error:
                raise RequestError(f"image_data[{i}]", f"{size[0]}x{size[1]} cannot be served: {error}") from None
        return counts

    def _item(self, index: int, image: Image.Image, spans: list[Span]) -> PreparedItem:
        """Pixels, and the one check that text side and pixel side agree before anything runs."""
        pixels_PC, grids = self.family.patches(image)
        tokens = [span_tokens(grid, self.family.merge_size) for grid in grids]
        holds = [end - start + 1 for start, end in spans]
        if tokens != holds:
            message = f"spans {spans} hold {holds} placeholders but the image's grids {grids} make {tokens} tokens"
            raise RequestError(f"image_data[{index}]", message, status=500)
        return PreparedItem(index, image.size, grids, spans, pixels_PC)

    def _expand(self, request: Request, counts: list[list[int]]) -> tuple[Expansion, Placement]:
        if request.text is not None:
            ids = self._checked(self.tokenizer.encode(request.text), "text")
            return self._in_ids(ids, counts, "text"), Placement("text", False, "the prompt was sent as text")
        ids = self._checked(request.input_ids or [], "input_ids")
        if not counts:
            return self._in_ids(ids, counts, "input_ids"), Placement("ids", False, "no images: the ids run as sent")
        if not self.config.avoid_retokenize:
            expansion = self._through_text(ids, counts)
            return expansion, self._compare(ids, counts, expansion)
        try:
            expansion = self._in_ids(ids, counts, "input_ids")
        except RequestError as error:
            return self._fall_back(ids, counts, error)
        return expansion, self._would_drift(ids, counts, expansion) if request.want_evidence else _IN_IDS

    def _checked(self, ids: Sequence[int], field: str) -> list[int]:
        if not ids:
            raise RequestError(field, "the prompt is empty")
        top = self.tokenizer.vocabulary - 1
        for i, token in enumerate(ids):
            place = f"input_ids[{i}]" if field == "input_ids" else field
            if not isinstance(token, int) or isinstance(token, bool):
                raise RequestError(place, f"{token!r} is not an integer")
            if not 0 <= token <= top:
                raise RequestError(place, f"{token} is not in the vocabulary (0 to {top})")
            if token in self.unsupported_ids:
                raise RequestError(place, f"{token} is a video placeholder; videos are not served", status=422)
        return list(ids)

    def _in_ids(self, ids: list[int], counts: list[list[int]], field: str) -> Expansion:
        replacements = [self.family.replacement(c) for c in counts]
        return self.expand(ids, self.family.placeholder_id, replacements, field=field)

    def _through_text(self, ids: list[int], counts: list[list[int]]) -> Expansion:
        """Decode, expand as text, tokenize again. A run of placeholders is one image, however long it is.

        What the caller merely spelled like a placeholder is refused by count, here or after tokenizing.
        """
        collapsed = self._collapse(ids, counts)
        pieces = self.tokenizer.decode(collapsed).split(self.family.placeholder)
        if collapsed.count(self.family.placeholder_id) != len(counts) or len(pieces) != len(counts) + 1:
            found = ids.count(self.family.placeholder_id)
            raise placeholder_mismatch("input_ids", found, [sum(c) for c in counts])
        text = pieces[0]
        for item_counts, piece in zip(counts, pieces[1:], strict=True):
            text += self.family.replacement_text(item_counts) + piece
        again = self.tokenizer.encode(text)
        return Expansion(again, item_offsets(again, self.family.placeholder_id, counts))

    def _collapse(self, ids: list[int], counts: list[list[int]]) -> list[int]:
        """One placeholder an image: the ids unexpanded or, where they fit no expansion, every run cut to one."""
        placeholder_id, replacements = self.family.placeholder_id, [self.family.replacement(c) for c in counts]
        try:
            expansion = expand_input_ids(ids, placeholder_id, replacements)
        except RequestError:
            starts = {start for start, _ in placeholder_runs(ids, placeholder_id)}
            return [token for i, token in enumerate(ids) if token != placeholder_id or i in starts]
        return contract_input_ids(expansion.ids, expansion.spans, replacements, placeholder_id)

    def _fall_back(self, ids: list[int], counts: list[list[int]], error: RequestError) -> tuple[Expansion, Placement]:
        """By count the ids cannot be expanded: tokenize again if that places every image, else refuse as before."""
        try:
            expansion = self._through_text(ids, counts)
        except RequestError:
            raise error from None
        reason = f"expansion in ids failed ({error}); the prompt was decoded and tokenized again"
        logger.warning("avoid_retokenize: %s", reason)
        return expansion, Placement("retokenized", False, reason)

    def _compare(self, ids: list[int], counts: list[list[int]], expansion: Expansion) -> Placement:
        try:
            kept = self._in_ids(ids, counts, "input_ids").ids
        except RequestError:
            return Placement(
                "retokenized", True, "the ids could not be expanded by count; a run was taken for an image"
            )
        return Placement(
            "retokenized", kept != expansion.ids, f"decoded and tokenized again: {_drift(kept, expansion.ids)}"
        )

    def _would_drift(self, ids: list[int], counts: list[list[int]], expansion: Expansion) -> Placement:
        try:
            again = self._through_text(ids, counts).ids
        except RequestError as error:
            why = f"expanded in the caller's ids; through text they cannot be placed ({error.message})"
            return Placement("ids", True, why)
        drift = f"expanded in the caller's ids; decoding and tokenizing again gives {_drift(expansion.ids, again)}"
        return Placement("ids", again != expansion.ids, drift)


_IN_IDS = Placement("ids", False, "expanded in the caller's ids; not compared, as no evidence was asked for")


def prompt_field(request: Request) -> str:
    return "text" if request.text is not None else "input_ids"


def _drift(kept: Sequence[int], again: Sequence[int]) -> str:
    if list(kept) == list(again):
        return f"the same {len(kept)} ids"
    return (
        f"{len(again)} ids instead of {len(kept)}" if len(kept) != len(again) else f"{len(kept)} ids, not all the same"
    )
