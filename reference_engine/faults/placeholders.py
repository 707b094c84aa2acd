"""Faults of expanding and padding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from reference_engine.faults.catalogue import Fault
from reference_engine.live_request import image_places
from reference_engine.multimodal import placeholders as clean
from reference_engine.multimodal.placeholders import Expansion, Layout, Modality, Span
from reference_engine.multimodal.prompt import PreparedPrompt

FILLER = 0


def expand_one_too_many(
    ids: Sequence[int], placeholders: Mapping[Modality, int], layouts: Sequence[Layout], **options: Any
) -> Expansion:
    """Every item's last run is one placeholder longer than its rows."""
    return clean.expand_input_ids(ids, placeholders, [_lengthen(layout) for layout in layouts], **options)


def _lengthen(layout: Layout) -> Layout:
    first, last = layout.spans[-1]
    ids = [*layout.ids[: last + 1], layout.ids[last], *layout.ids[last + 1 :]]
    return replace(layout, ids=ids, spans=[*layout.spans[:-1], (first, last + 1)])


def pad_with_exclusive_end(ids: Sequence[int], items: Sequence[tuple[Sequence[Span], int]]) -> list[int]:
    """Takes the inclusive end of a span for an exclusive one: each span's last placeholder keeps its id."""
    padded = list(ids)
    for spans, value in items:
        for start, end in spans:
            padded[start:end] = [value] * (end - start)
    return padded


def places_of_a_filler(prompt: PreparedPrompt) -> Tensor:
    """Image places are filled with an id of the vocabulary, and found again by it."""
    filled = torch.tensor(prompt.ids)
    filled[image_places(prompt)] = FILLER
    return torch.nonzero(filled == FILLER)[:, 0] if prompt.items else image_places(prompt)


FAULTS = (
    Fault(
        id="F2-13",
        reference="lmdeploy#3078",
        summary="image places are filled with id 0, which is a token, and found again by it",
        invariant="16: placement follows provenance, never equality with a reserved id",
        replaces={"image_places": places_of_a_filler},
        acts_when="a prompt with an image has token 0 in its text",
    ),
    Fault(
        id="expand-off-by-one",
        reference="analogue of the placeholder/feature count family (vllm#45244)",
        summary="each placeholder expands to one token more than the encoder returns rows",
        invariant="1: text-side count == encoder rows, per item, summed over all of its spans",
        replaces={"expand_input_ids": expand_one_too_many},
        acts_when="the request has an image",
    ),
    Fault(
        id="padded-exclusive-end",
        reference="analogue around sglang#26116",
        summary="padded ids treat a span's inclusive end as exclusive",
        invariant="5: a prefix key changes at the first image position when the image changes",
        replaces={"build_padded_input_ids": pad_with_exclusive_end},
        acts_when="padded ids are built",
    ),
)
