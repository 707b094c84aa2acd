"""``POST /predict``: any body that ``/generate`` or ``/v1/chat/completions`` takes, answered with what would run.

``image_sizes`` (a (width, height) for each image, upright) stands for the images themselves; image parts of messages
then keep their places and their content is not read. Nothing runs, and no weights are needed.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Protocol

from reference_engine.config import EngineConfig
from reference_engine.errors import RequestError
from reference_engine.multimodal.placeholders import Size
from reference_engine.multimodal.placing import PromptPlacer, Slot
from reference_engine.predict import image_slots, prediction
from reference_engine.request import Request
from reference_engine.server.chat import ChatPrompts, chat_ids, image_sources
from reference_engine.server.images import read_images
from reference_engine.server.meta_info import given
from reference_engine.server.native import Prompt, spread
from reference_engine.server.protocol import ChatBody, GenerateBody, read


class PredictGenerate(GenerateBody):
    image_sizes: list[Any] | None = None
    """[width, height] of every image; for a list of prompts, a list of those for each."""
    return_positions: bool = False
    """The positions themselves, three rows, beside their digest."""


class PredictChat(ChatBody):
    image_sizes: list[Any] | None = None
    return_positions: bool = False


class Places(Protocol):
    """An engine, or a :class:`reference_engine.predict.Predictor`."""

    @property
    def config(self) -> EngineConfig: ...

    @property
    def placer(self) -> PromptPlacer: ...


def answer_predict(raw: bytes, places: Places, prompts: ChatPrompts, max_batch: int) -> Any:
    """One prediction, or a list of them for a list of prompts. Raises :class:`RequestError` as the endpoints do."""
    if _is_chat(raw):
        return _chat(read(PredictChat, raw), places, prompts)
    body = read(PredictGenerate, raw)
    found = spread(body, max_batch)
    if found[0].index is None:
        return _one(found[0], body, body.image_sizes, places)
    sizes = body.image_sizes or [None] * len(found)
    if len(sizes) != len(found):
        raise RequestError("image_sizes", f"{len(sizes)} entries for {len(found)} prompts; send one for each")
    return [_one(prompt, body, own, places) for prompt, own in zip(found, sizes, strict=True)]


def _is_chat(raw: bytes) -> bool:
    try:
        return "messages" in json.loads(raw)
    except (ValueError, TypeError):
        return False


def _one(prompt: Prompt, body: PredictGenerate, sizes: Any, places: Places) -> dict[str, Any]:
    fields = [f"image_data[{i}]" for i in range(len(prompt.sources))]
    try:
        slots = _slots(prompt.sources, fields, sizes, places.config)
        request = Request("predict", text=prompt.text, input_ids=prompt.ids, want_evidence=True)
        return _told(places, request, slots, body.return_positions)
    except RequestError as error:
        raise RequestError(prompt.named(error.field), error.message, status=error.status) from None


def _chat(body: PredictChat, places: Places, prompts: ChatPrompts) -> dict[str, Any]:
    sources, fields = image_sources(body.messages)
    slots = _slots(sources, fields, body.image_sizes, places.config)
    request = Request("predict", input_ids=chat_ids(body, prompts), want_evidence=True)
    return _told(places, request, slots, body.return_positions)


def _slots(sources: Sequence[str], fields: Sequence[str], sizes: Any, config: EngineConfig) -> list[Slot]:
    if sizes is not None:
        if sources and len(sources) != len(sizes):
            raise RequestError("image_sizes", f"{len(sizes)} sizes for {len(sources)} images")
        return image_slots([_size(size, f"image_sizes[{i}]") for i, size in enumerate(sizes)], config)
    if len(sources) > config.max_images:
        raise RequestError("image_data", f"{len(sources)} images; at most {config.max_images}", status=413)
    images = read_images(sources, fields=fields, max_pixels=config.max_image_pixels)
    return image_slots([image.size for image in images], config)


def _size(size: Any, field: str) -> Size:
    if not isinstance(size, list) or len(size) != 2 or not all(type(side) is int for side in size):
        raise RequestError(field, f"{size!r} is not [width, height]")
    return size[0], size[1]


def _told(places: Places, request: Request, slots: Sequence[Slot], positions: bool) -> dict[str, Any]:
    placed = places.placer.place(request, slots)
    return given(asdict(prediction(placed, places.placer.family.name, positions=positions)))
