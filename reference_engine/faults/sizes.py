"""Faults of counting: the text side lays an item out from another size than the pixel side."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from reference_engine.errors import RequestError
from reference_engine.faults.catalogue import Fault
from reference_engine.multimodal import placeholders, placing
from reference_engine.multimodal.family import Family
from reference_engine.multimodal.placeholders import Expansion, ItemSize, Layout, Modality, VideoSize
from reference_engine.multimodal.placing import Slot

ONE_COUNT = "1: text-side count == encoder rows, for every size, mode and option"
LIMIT = 256
"""Tokens of a prompt that a tokenizer's own limit leaves; 2,048 in the report."""


def _image(change: Callable[[int, int, int], tuple[int, int]]) -> Callable[[Family, Slot], Layout]:
    def lay_out(family: Family, slot: Slot) -> Layout:
        if slot.modality != "image":
            return placing.lay_out(family, slot)
        cell = getattr(getattr(family, "patcher", None), "cell", 28)
        return placing.lay_out(family, replace(slot, size=change(slot.size[0], slot.size[1], cell)))

    return lay_out


def _video(change: Callable[[VideoSize], ItemSize]) -> Callable[[Family, Slot], Layout]:
    def lay_out(family: Family, slot: Slot) -> Layout:
        size = change(slot.size) if isinstance(slot.size, VideoSize) else slot.size
        return placing.lay_out(family, replace(slot, size=size))

    return lay_out


def _half_up(side: int, cell: int) -> int:
    """A side in the middle between two numbers of cells goes to the larger one."""
    return side + 1 if side % cell == cell // 2 else side


def let_errors_escape(family: Family, slot: Slot) -> Layout:
    """A size that the processor refuses raises whatever it raises."""
    return family.layout(slot.modality, slot.size, slot.index, slot.count)


def expand_within_limit(
    ids: Sequence[int], given: Mapping[Modality, int], layouts: Sequence[Layout], **options: Any
) -> Expansion:
    """The tokenizer's own limit truncates the expanded prompt, which then fails its count."""
    expansion = placeholders.expand_input_ids(ids, given, layouts, **options)
    if layouts and len(expansion.ids) > LIMIT:
        raise RequestError("input_ids", f"truncated to {LIMIT} tokens inside an image", status=400)
    return expansion


def _fault(fault_id: str, reference: str, summary: str, acts_when: str, lay_out: Any, **more: Any) -> Fault:
    return Fault(fault_id, reference, summary, ONE_COUNT, {"lay_out": lay_out}, acts_when, **more)


FAULTS = (
    _fault(
        "F1-03", "vllm#45244", "the text side takes (width, height) for (height, width)", "an image is not square",
        _image(lambda width, height, cell: (height, width)),
    ),
    _fault(
        "F1-04", "vllm#45057", "the text side reads a (height, width, 3) array as (channels, height, width)",
        "the request has an image", _image(lambda width, height, cell: (3, width)),
    ),
    _fault(
        "F1-09", "transformers#34625", "text side and pixel side round halves differently",
        "a side lies in the middle between two numbers of cells",
        _image(lambda width, height, cell: (_half_up(width, cell), _half_up(height, cell))), analogue=True,
        families="dynamic resolution",
    ),
    _fault(
        "F1-12", "vllm#55644", "the text side takes at most 4 frames of a video, the pixel side all",
        "a video has more than 4 frames", _video(lambda size: size._replace(frames=min(size.frames, 4))),
        families="videos",
    ),
    _fault(
        "F1-13", "vllm#36136", "the frame rate does not reach the text side, which takes 2 a second",
        "a video of another frame rate", _video(lambda size: size._replace(fps=2.0)),
        families="videos placed or written by time",
    ),
    Fault(
        "F1-15", "local-inference-lab/vllm#313", f"prompts with images are truncated at {LIMIT} tokens and refused",
        "1: no item is truncated; no truncation unless asked", {"expand_input_ids": expand_within_limit},
        f"a prompt with an image is longer than {LIMIT} tokens",
    ),
    Fault(
        "F7-07", "vllm#15080", "a size that the processor refuses ends the call with its own exception",
        "17: any input gives 2xx or 4xx and the server stays up", {"lay_out": let_errors_escape},
        "an image of a size that cannot be served", families="dynamic resolution",
    ),
    _fault(
        "F7-11", "vllm#11704", "the text side's size is one pixel short in both directions",
        "a side lies on a rounding edge", _image(lambda w, h, cell: (max(1, w - 1), max(1, h - 1))), analogue=True,
        families="dynamic resolution",
    ),
)  # fmt: skip
