"""What an engine must run for a request, said without weights and without a GPU: ids, spans, counts, positions, usage.

A checkpoint's configuration, processor and tokenizer files are enough, and of an image its size is enough. The engine
places prompts with the same code (:mod:`reference_engine.multimodal.placing`), so a prediction is exactly what it runs;
any other server can be held against it.

>>> predictor = Predictor(EngineConfig(model="sentinel-qwen2.5-vl"))
>>> predictor.predict(Request("a", text="<|image_pad|>read"), [(365, 211)]).usage
{'prompt_tokens': 105}
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reference_engine import hf
from reference_engine.config import EngineConfig
from reference_engine.errors import ConfigError, RequestError
from reference_engine.loading import make_family
from reference_engine.multimodal.families import known
from reference_engine.multimodal.mrope import positions_digest
from reference_engine.multimodal.placeholders import Grid, Modality, Size, Span, VideoSize
from reference_engine.multimodal.placing import PlacedPrompt, PromptPlacer, Slot
from reference_engine.multimodal.processor_counts import Counted, count_by_processor
from reference_engine.request import Request
from reference_engine.sentinels import resolve_model
from reference_engine.tokenizer import Codec, load_codec


@dataclass(frozen=True)
class PredictedItem:
    """Named as in an answer's evidence."""

    item: int
    modality: Modality
    size: Size
    spans: list[Span]
    """Inclusive, in places of ``prompt_ids``."""
    placeholders: list[int]
    """Tokens of each span."""
    grids: list[Grid]
    """(t, h, w) patches of each span, in families with MRoPE."""
    length: int
    """Ids that its one placeholder became: its tokens, and what the family writes around and between its spans."""


@dataclass(frozen=True)
class Prediction:
    family: str
    usage: dict[str, int]
    prompt_ids: list[int]
    items: list[PredictedItem]
    """In the order of their places."""
    mrope_delta: int
    positions_digest: str
    """SHA-256 of the int64 positions [3, prompt tokens], little endian, hex."""
    placement: str
    """How the ids came to be, and what tokenizing again would have made of them."""
    positions: list[list[int]] | None = None
    """Three rows, on request."""


class Predictor:
    """The text side of one checkpoint. Raises :class:`ConfigError` as an engine does, but reads no weights."""

    def __init__(self, config: EngineConfig) -> None:
        path = resolve_model(config.model)
        description = hf.describe_checkpoint(path, known)
        self.config, self._processors = config, description.processors
        self.codec: Codec = load_codec(path, description.geometry.vocabulary, config)
        self.placer = PromptPlacer(self.codec, make_family(description, self.codec, config.slice_rows), config)

    def predict(
        self, request: Request, sizes: Sequence[Size] = (), videos: Sequence[VideoSize] = (), *, positions: bool = False
    ) -> Prediction:
        """For a prompt with images of these (width, height), upright as decoded, and videos of these sizes, lengths and
        rates. Refuses what the engine refuses.
        """
        slots = image_slots(sizes, self.config) + video_slots(videos, self.config)
        placed = self.placer.place(request, slots)
        return prediction(placed, self.placer.family.name, positions=positions)

    def count_again(self, sizes: Sequence[Size]) -> Counted:
        """The images as the checkpoint's whole processor counts them: their ``placeholders``, or in families that write
        more than those (Idefics3), their ``length``.
        """
        try:
            return count_by_processor(self._processors.whole, sizes)
        except (ConfigError, OSError, ValueError) as error:
            return Counted(None, str(error))


def image_slots(sizes: Sequence[Size], config: EngineConfig, field: str = "image_sizes") -> list[Slot]:
    """Raises :class:`RequestError` for a size that no image has, and for more or larger images than are taken."""
    if len(sizes) > config.max_images:
        raise RequestError(field, f"{len(sizes)} images; at most {config.max_images}", status=413)
    for i, size in enumerate(sizes):
        _check_size(size, f"{field}[{i}]", config)
    return [Slot("image", i, len(sizes), size) for i, size in enumerate(sizes)]


def video_slots(sizes: Sequence[VideoSize], config: EngineConfig, field: str = "video_sizes") -> list[Slot]:
    """The same for videos, whose frames are counted too."""
    if len(sizes) > config.max_videos:
        raise RequestError(field, f"{len(sizes)} videos; at most {config.max_videos}", status=413)
    most = config.max_video_frames
    for i, size in enumerate(sizes):
        _check_size(size[:2], f"{field}[{i}]", config)
        if not 0 < size.frames <= most:
            status = 413 if size.frames > most else 400
            raise RequestError(f"{field}[{i}]", f"{size.frames} frames; from 1 to {most}", status=status)
    return [Slot("video", i, len(sizes), size) for i, size in enumerate(sizes)]


def _check_size(size: Size, field: str, config: EngineConfig) -> None:
    width, height = size
    if width < 1 or height < 1:
        raise RequestError(field, f"{width}x{height} is no image's size")
    if width * height > (most := config.max_image_pixels):
        raise RequestError(field, f"{width}x{height} = {width * height} pixels; at most {most}", status=413)


def prediction(placed: PlacedPrompt, family: str, *, positions: bool = False) -> Prediction:
    items = [
        PredictedItem(
            slot.index, slot.modality, (slot.size[0], slot.size[1]), spans, layout.counts, layout.grids, len(layout.ids)
        )
        for slot, layout, spans in zip(placed.slots, placed.layouts, placed.spans, strict=True)
    ]
    return Prediction(
        family=family,
        usage={"prompt_tokens": len(placed.ids)},
        prompt_ids=placed.ids,
        items=sorted(items, key=lambda item: item.spans[0]),
        mrope_delta=placed.delta,
        positions_digest=positions_digest(placed.positions_3L),
        placement=placed.placement.reason,
        positions=placed.positions_3L.tolist() if positions else None,
    )
