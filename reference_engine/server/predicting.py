"""``POST /predict``: any body that ``/generate`` or ``/v1/chat/completions`` takes, answered with what would run.

``image_sizes`` (a [width, height] for each image, upright) stands for the images themselves, and ``video_sizes`` (a
[width, height, frames] or [width, height, frames, frames a second] for each) for the videos; parts of messages then
keep their places and their content is not read. Nothing runs, and no weights are needed.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from reference_engine.errors import RequestError
from reference_engine.multimodal.placeholders import Size, VideoSize
from reference_engine.multimodal.placing import Slot
from reference_engine.predict import image_slots, prediction, video_slots
from reference_engine.request import Request
from reference_engine.server.chat import ChatPrompts, chat_ids, media_of
from reference_engine.server.field_types import read
from reference_engine.server.images import Pictures
from reference_engine.server.limits import Limits
from reference_engine.server.media import Media, Places
from reference_engine.server.meta_info import given
from reference_engine.server.native import Prompt, prompt_ids, spread
from reference_engine.server.protocol import ChatBody, GenerateBody


class PredictGenerate(GenerateBody):
    image_sizes: list[Any] | None = None
    """[width, height] of every image; for a list of prompts, a list of those for each."""
    video_sizes: list[Any] | None = None
    """[width, height, frames, frames a second] of every video; for a list of prompts, a list of those for each."""
    return_positions: bool = False
    """The positions themselves, three rows, beside their digest."""


class PredictChat(ChatBody):
    image_sizes: list[Any] | None = None
    video_sizes: list[Any] | None = None
    return_positions: bool = False


def answer_predict(raw: bytes, places: Places, prompts: ChatPrompts, limits: Limits) -> Any:
    """One prediction, or a list of them for a list of prompts. Raises :class:`RequestError` as the endpoints do."""
    pictures = Pictures(places.config, limits)
    if _is_chat(raw):
        return _chat(read(PredictChat, raw), places, prompts, pictures)
    body = read(PredictGenerate, raw)
    found = spread(body, limits.max_batch)
    if found[0].index is None:
        return _one(found[0], body, body.image_sizes, body.video_sizes, places, prompts, pictures)
    images = _each("image_sizes", body.image_sizes, len(found))
    videos = _each("video_sizes", body.video_sizes, len(found))
    return [_one(prompt, body, images[i], videos[i], places, prompts, pictures) for i, prompt in enumerate(found)]


def _each(field: str, sizes: list[Any] | None, count: int) -> list[Any]:
    if sizes and len(sizes) != count:
        raise RequestError(field, f"{len(sizes)} entries for {count} prompts; send one for each")
    return sizes or [None] * count


def _is_chat(raw: bytes) -> bool:
    """Whether it holds messages, and nothing that only ``/generate`` takes."""
    try:
        sent = json.loads(raw)
    except (ValueError, RecursionError):
        return False
    own = GenerateBody.model_fields.keys() - ChatBody.model_fields.keys()
    return isinstance(sent, dict) and "messages" in sent and not own & sent.keys()


def _one(
    prompt: Prompt,
    body: PredictGenerate,
    images: Any,
    videos: Any,
    places: Places,
    prompts: ChatPrompts,
    pictures: Pictures,
) -> dict[str, Any]:
    try:
        slots = _slots(prompt.media, images, videos, places, pictures)
        request = Request("predict", text=prompt.text, input_ids=prompt_ids(prompt, body, prompts), want_evidence=True)
        return _told(places, request, slots, body.return_positions)
    except RequestError as error:
        raise RequestError(prompt.named(error.field), error.message, status=error.status) from None


def _chat(body: PredictChat, places: Places, prompts: ChatPrompts, pictures: Pictures) -> dict[str, Any]:
    slots = _slots(media_of(body.messages), body.image_sizes, body.video_sizes, places, pictures)
    request = Request("predict", input_ids=chat_ids(body, prompts), want_evidence=True)
    return _told(places, request, slots, body.return_positions)


def _slots(media: Media, images: Any, videos: Any, places: Places, pictures: Pictures) -> list[Slot]:
    media.check(places)
    config = places.config
    if images is None:
        sizes = [image.size for image in media.read_images(pictures)]
    else:
        sizes = [_size(size, f"image_sizes[{i}]") for i, size in enumerate(_for("image", images, media.images))]
    if videos is None:
        shapes = [video.size for video in media.read_videos(pictures)]
    else:
        shapes = [_shape(size, f"video_sizes[{i}]") for i, size in enumerate(_for("video", videos, media.videos))]
    return image_slots(sizes, config) + video_slots(shapes, config)


def _for(modality: str, sizes: Any, sent: Sequence[Any]) -> list[Any]:
    """The sizes, which must be as many as the items if those were sent too."""
    field = f"{modality}_sizes"
    if not isinstance(sizes, list):
        raise RequestError(field, f"{sizes!r} is not a list of sizes")
    if sent and len(sent) != len(sizes):
        raise RequestError(field, f"{len(sizes)} sizes for {len(sent)} {modality}s")
    return sizes


def _size(size: Any, field: str) -> Size:
    if not isinstance(size, list) or len(size) != 2 or not all(type(side) is int for side in size):
        raise RequestError(field, f"{size!r} is not [width, height]")
    return size[0], size[1]


def _shape(size: Any, field: str) -> VideoSize:
    if not isinstance(size, list) or not _is_shape(size[:3], size[3:]):
        raise RequestError(
            field, f"{size!r} is not [width, height, frames] or [width, height, frames, frames a second]"
        )
    width, height, frames, fps = [*size, None][:4]
    return VideoSize(width, height, frames, None if fps is None else float(fps))


def _is_shape(sides: list[Any], rates: list[Any]) -> bool:
    if len(sides) != 3 or not all(type(side) is int for side in sides) or len(rates) > 1:
        return False
    return all(fps is None or (type(fps) in (int, float) and 0 < fps < math.inf) for fps in rates)


def _told(places: Places, request: Request, slots: Sequence[Slot], positions: bool) -> dict[str, Any]:
    placed = places.placer.place(request, slots)
    return given(asdict(prediction(placed, places.placer.family.name, positions=positions)))
