"""What a Hugging Face processor computed for a request already, and when it may be used again (sglang#26116).

A request may carry its processor's output: expanded ids, encoder inputs, MRoPE positions and their delta. Using them
spares decoding and resizing images, and computing positions. They are used only where they can be shown to belong to
this very request:

- the ids equal the ids as run, every one of them: two prompts of one length are not one prompt;
- the encoder inputs make the layouts that the request's images make;
- positions are whole numbers of shape [3, L] for the L ids as run, they begin as text does, and the delta is theirs.

Where one of these fails, what it guards is computed again and the reason recorded. Nothing is cut to fit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from reference_engine.multimodal.placeholders import Layout

NOT_TENSORS = ("input_ids", "attention_mask", "mm_token_type_ids", "token_type_ids")


@dataclass(frozen=True)
class ProcessorOutput:
    """Of one prompt. A processor's batch of one is read by :meth:`of`."""

    input_ids: list[int]
    """Placeholders expanded."""
    tensors: Mapping[str, Tensor] = field(default_factory=dict)
    """Encoder inputs of all items, by the processor's names: ``pixel_values`` [P, C], ``image_grid_thw`` [I, 3]."""
    mrope_positions: Tensor | None = None
    """Integers [3, L]."""
    mrope_position_delta: int | None = None

    @classmethod
    def of(cls, made: Mapping[str, Any], positions: Tensor | None = None, delta: int | None = None) -> ProcessorOutput:
        """From what ``processor(text=[...], images=[...], return_tensors="pt")`` returned."""
        [ids] = made["input_ids"].tolist()
        tensors = {name: value for name, value in made.items() if name not in NOT_TENSORS}
        return cls(ids, tensors, positions, delta)


@dataclass(frozen=True)
class Reuse:
    """What became of a processor's output, for the evidence."""

    acted: bool
    reason: str
    positions: bool = False
    """Whether its positions are those run: then what is cached of the prompt depends on them."""


NOTHING_GIVEN = Reuse(False, "the request carries no processor output")


def ids_disagreement(given: Sequence[int], run: Sequence[int]) -> str | None:
    """The first place where the processor's ids are not the ids as run; None if they are the same throughout."""
    if list(given) == list(run):
        return None
    place = next((i for i, (a, b) in enumerate(zip(given, run, strict=False)) if a != b), min(len(given), len(run)))
    found, wanted = (ids[place] if place < len(ids) else "nothing" for ids in (given, run))
    return f"its ids ({len(given)}) are not the {len(run)} ids as run: at place {place}, {found} instead of {wanted}"


def layouts_disagreement(given: Sequence[Layout], placed: Sequence[Layout]) -> str | None:
    """The first item that the processor laid out in another way than the prompt has it."""
    if len(given) != len(placed):
        return f"it holds {len(given)} item(s), the request {len(placed)}"
    for i, (one, other) in enumerate(zip(given, placed, strict=True)):
        if one != other:
            return f"its item {i} has grids {one.grids} and {one.counts} tokens, not {other.grids} and {other.counts}"
    return None


def positions_disagreement(positions: Tensor, delta: int | None, length: int, text_first: int) -> str | None:
    """Why these are no positions of ``length`` tokens of which the first ``text_first`` are text; None if they may be.

    What stands before the first image is checked in full: other requests may share it.
    """
    if positions.dtype.is_floating_point or positions.dtype == torch.bool:
        return f"its MRoPE positions are {positions.dtype}, not integers"
    if tuple(positions.shape) != (3, length):
        return f"its MRoPE positions have shape {list(positions.shape)}, not [3, {length}]"
    if not torch.equal(positions[:, :text_first].long(), torch.arange(text_first).expand(3, -1)):
        return f"its MRoPE positions do not count the {text_first} tokens of text at the beginning"
    if int(positions.min()) < 0:
        return f"one of its MRoPE positions is {int(positions.min())}"
    expected = int(positions.max()) + 1 - length
    if delta != expected:
        return (
            f"its MRoPE delta is {delta}, but its positions end at {expected + length - 1}, which makes it {expected}"
        )
    return None
