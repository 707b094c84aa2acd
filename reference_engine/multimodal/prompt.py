"""From a request to a prompt as run: where everything goes (:mod:`reference_engine.multimodal.placing`), and the
pixels. CPU only.

Pixels come from the request's own media, through the checkpoint's processor, or from what a processor made of them
before (:mod:`reference_engine.multimodal.processor_output`). Either way text side and pixel side must agree here,
before anything runs.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from PIL import Image
from torch import Tensor

from reference_engine.errors import RequestError
from reference_engine.multimodal.family import Divides, Family, Pixels, Tensors, Traits
from reference_engine.multimodal.images import load_image
from reference_engine.multimodal.placeholders import Grid, Layout, Modality, Size, Span
from reference_engine.multimodal.placing import PlacedPrompt, Placement, PromptPlacer, Slot, layout_mismatch
from reference_engine.multimodal.processor_output import (
    NOTHING_GIVEN,
    ProcessorOutput,
    Reuse,
    ids_disagreement,
    layouts_disagreement,
    positions_disagreement,
)
from reference_engine.prefix_cache import KeyChain
from reference_engine.request import Request, Video

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Medium:
    """One media item of a request, decoded."""

    slot: Slot
    item: Image.Image | Video


@dataclass(frozen=True)
class PreparedItem:
    """One media item as it will be encoded and placed."""

    index: int
    size: Size
    """(width, height) of the item as sent."""
    grids: list[Grid]
    """One a span in families with MRoPE; else none."""
    spans: list[Span]
    pixels: Tensors
    """The encoder's inputs; empty once encoded."""
    modality: Modality = "image"
    strides: tuple[float, ...] = ()
    """Positions between two frames of each span, where the family places videos by time."""
    key: bytes = b""
    """What every cache knows the item's content by; see :mod:`~reference_engine.multimodal.content_key`."""

    @property
    def field(self) -> str:
        """The request field that it came from."""
        return f"{self.modality}_data[{self.index}]"


@dataclass(frozen=True)
class PreparedPrompt:
    ids: list[int]
    items: list[PreparedItem]
    """In the order of their places."""
    positions_3L: Tensor
    delta: int
    placement: Placement
    chain: KeyChain | None = None
    """Keys of its KV blocks; None where no prefix is ever reused."""
    reuse: Reuse = NOTHING_GIVEN
    both_ways: tuple[Span, ...] = ()
    """Spans in which every token sees every other."""

    def chunk_end(self, start: int, stop: int) -> int:
        """Where a chunk of the prompt may end that was meant to end before token ``stop``: not inside a span that
        attends both ways. One that begins at ``start`` is taken whole, however long it is.
        """
        for first, last in self.both_ways:
            if first < stop <= last:
                return first if first > start else last + 1
        return stop

    def without_pixels(self) -> PreparedPrompt:
        """For after encoding: pixels are by far the largest part of a prompt, and a request may decode for long."""
        return replace(self, items=[replace(item, pixels={}) for item in self.items])


def as_it_is(medium: Medium) -> Image.Image | Video:
    """What the checkpoint's processor is given of an item."""
    return medium.item


def is_served(family: Family, modality: Modality) -> bool:
    return modality in family.placeholders


def positions_of(request: Request, prompt: PreparedPrompt) -> PreparedPrompt:
    """The same positions for the same prompt, whichever way it came in."""
    return prompt


@dataclass(frozen=True)
class PromptSeams:
    """The functions of building prompts that a fault may replace."""

    ids_disagreement: Callable[..., str | None] = ids_disagreement
    positions_disagreement: Callable[..., str | None] = positions_disagreement
    load_image: Callable[..., Image.Image] = load_image
    to_processor: Callable[[Medium], Image.Image | Video] = as_it_is
    is_served: Callable[[Family, Modality], bool] = is_served
    positions_of: Callable[[Request, PreparedPrompt], PreparedPrompt] = positions_of


PROMPTS = PromptSeams()


@dataclass(frozen=True)
class PromptBuilder:
    """Builds prompts for one engine. Holds no state between requests; safe to call from several threads."""

    placer: PromptPlacer
    seams: PromptSeams = PROMPTS

    def build(self, request: Request) -> PreparedPrompt:
        """Raises :class:`RequestError` naming the field; no other exception for any input."""
        media = self._media(request)
        if request.processor_output is not None:
            prompt = self._with_processor_output(request, request.processor_output, media)
        else:
            placed = self.placer.place(request, [medium.slot for medium in media])
            prompt = _prepared(placed, [self._pixels(medium) for medium in media], self.placer.family.traits)
        return self.seams.positions_of(request, prompt)

    def with_pixels(self, request: Request, prompt: PreparedPrompt) -> PreparedPrompt:
        """:meth:`PreparedPrompt.without_pixels` undone: they are made again from the request's own media."""
        pixels = {(i.modality, i.index): i.pixels for i in self.build(request).items}
        return replace(prompt, items=[replace(i, pixels=pixels[i.modality, i.index]) for i in prompt.items])

    def _with_processor_output(
        self, request: Request, given: ProcessorOutput, media: Sequence[Medium]
    ) -> PreparedPrompt:
        """What was given is used where it agrees with the prompt; what disagrees is computed again, if it can be."""
        processed = self._divided(given)
        slots = [medium.slot for medium in media] or _slots(processed)
        placed = self.placer.place(request, slots, None if media else [each.layout for each in processed])
        wrong = self.seams.ids_disagreement(given.input_ids, placed.ids)
        wrong = wrong or layouts_disagreement([each.layout for each in processed], placed.layouts)
        if wrong and processed and not media:
            message = f"{wrong}; no images were sent to compute it again from"
            raise RequestError("processor_output", message, status=422)
        on = self.placer.config.reuse_processor_output
        if wrong or not on:
            made = [self._pixels(medium) for medium in media] if media else processed
            prompt = _prepared(placed, made, self.placer.family.traits)
            return _computed(prompt, wrong or "the toggle is off", alone=not media and bool(processed))
        return self._with_positions(_prepared(placed, processed, self.placer.family.traits), given)

    def _with_positions(self, prompt: PreparedPrompt, given: ProcessorOutput) -> PreparedPrompt:
        used = f"its {len(prompt.ids)} ids are those run, and the pixels of {len(prompt.items)} item(s) were used"
        if given.mrope_positions is None or not self.placer.family.traits.mrope:
            return replace(prompt, reuse=Reuse(True, f"{used}; positions were computed, as it has none"))
        text_first = prompt.items[0].spans[0][0] if prompt.items else len(prompt.ids)
        delta = given.mrope_position_delta
        wrong = self.seams.positions_disagreement(given.mrope_positions, delta, len(prompt.ids), text_first)
        if wrong:
            logger.warning("reuse_processor_output: %s; positions were computed again", wrong)
            return replace(prompt, reuse=Reuse(True, f"{used}; positions were computed again: {wrong}"))
        reuse = Reuse(True, f"{used}, and its positions with delta {delta}", positions=True)
        return replace(prompt, positions_3L=given.mrope_positions.long(), delta=int(delta or 0), reuse=reuse)

    def _divided(self, given: ProcessorOutput) -> list[Pixels]:
        family = self.placer.family
        if not given.tensors:
            return []
        if not isinstance(family, Divides):
            message = f"{family.name} cannot be given a processor's output; send images"
            raise RequestError("processor_output", message, status=422)
        try:
            processed = family.divide(given.tensors)
        except ValueError as error:
            raise RequestError("processor_output.tensors", str(error)) from None
        if len(processed) > (most := self.placer.config.max_images):
            raise RequestError("processor_output.tensors", f"{len(processed)} images; at most {most}", status=413)
        return processed

    def _media(self, request: Request) -> list[Medium]:
        config, family = self.placer.config, self.placer.family
        sent: dict[Modality, Sequence[Any]] = {"image": request.images, "video": request.videos}
        most = {"image": config.max_images, "video": config.max_videos}
        for modality, items in sent.items():
            if len(items) > most[modality]:
                many = f"{len(items)} {modality}s; at most {most[modality]}"
                raise RequestError(f"{modality}_data", many, status=413)
            if items and not self.seams.is_served(family, modality):
                raise RequestError(f"{modality}_data", f"{family.name} takes no {modality}s", status=422)
        images = [self._image(image, f"image_data[{i}]") for i, image in enumerate(request.images)]
        videos = [self._video(video, f"video_data[{i}]") for i, video in enumerate(request.videos)]
        return [Medium(Slot("image", i, len(images), image.size), image) for i, image in enumerate(images)] + [
            Medium(Slot("video", i, len(videos), video.size), video) for i, video in enumerate(videos)
        ]

    def _image(self, image: Image.Image, field: str) -> Image.Image:
        return self.seams.load_image(image, field=field, max_pixels=self.placer.config.max_image_pixels)

    def _video(self, video: Video, field: str) -> Video:
        """Every frame loaded. Raises where there are none or too many, or not all of one size."""
        most = self.placer.config.max_video_frames
        if not 0 < len(video.frames) <= most:
            message = f"{len(video.frames)} frames; from 1 to {most}"
            raise RequestError(field, message, status=413 if video.frames else 400)
        frames = [self._image(frame, f"{field}.frames[{j}]") for j, frame in enumerate(video.frames)]
        sizes = sorted({frame.size for frame in frames})
        if len(sizes) > 1:
            raise RequestError(field, f"frames of different sizes: {sizes}")
        return Video(frames, video.fps)

    def _pixels(self, medium: Medium) -> Pixels:
        slot = medium.slot
        return self.placer.family.pixels(slot.modality, self.seams.to_processor(medium), slot.index, slot.count)


def _prepared(placed: PlacedPrompt, made: Sequence[Pixels], traits: Traits) -> PreparedPrompt:
    """Both sides together. Items come in the order of their places."""
    items = [_item(*each) for each in zip(placed.slots, placed.layouts, placed.spans, made, strict=True)]
    items.sort(key=lambda item: item.spans[0])
    both_ways = tuple(span for item in items for span in item.spans) if traits.both_ways else ()
    return PreparedPrompt(placed.ids, items, placed.positions_3L, placed.delta, placed.placement, both_ways=both_ways)


def _item(slot: Slot, layout: Layout, spans: list[Span], made: Pixels) -> PreparedItem:
    """The one check that text side and pixel side agree."""
    if made.layout != layout:
        raise layout_mismatch(slot, spans, made.layout)
    size = (slot.size[0], slot.size[1])
    return PreparedItem(slot.index, size, layout.grids, spans, made.tensors, slot.modality, tuple(layout.strides))


def _slots(processed: Sequence[Pixels]) -> list[Slot]:
    """Of items that came without their media: their sizes are not known."""
    return [Slot(each.layout.modality, i, len(processed), (0, 0)) for i, each in enumerate(processed)]


def _computed(prompt: PreparedPrompt, why: str, *, alone: bool) -> PreparedPrompt:
    """Nothing but pixels that came without images was used again."""
    what = "positions were computed, the pixels came with no images" if alone else "pixels and positions were computed"
    if why != "the toggle is off":
        logger.warning("reuse_processor_output: %s; %s again", why, what)
    return replace(prompt, reuse=Reuse(False, f"{what}: {why}"))
