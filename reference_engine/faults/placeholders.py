"""Faults of expanding and padding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from reference_engine.faults.catalogue import Fault
from reference_engine.multimodal import placeholders as clean
from reference_engine.multimodal.placeholders import Expansion, Span


def expand_one_too_many(
    ids: Sequence[int], placeholder_id: int, replacements: Sequence[Sequence[int]], **options: Any
) -> Expansion:
    """Every item's last run is one placeholder longer than its rows."""
    longer = [_lengthen(list(replacement), placeholder_id) for replacement in replacements]
    return clean.expand_input_ids(ids, placeholder_id, longer, **options)


def _lengthen(replacement: list[int], placeholder_id: int) -> list[int]:
    last = clean.placeholder_runs(replacement, placeholder_id)[-1][1]
    return [*replacement[: last + 1], placeholder_id, *replacement[last + 1 :]]


def pad_with_exclusive_end(ids: Sequence[int], items: Sequence[tuple[Sequence[Span], int]]) -> list[int]:
    """Takes the inclusive end of a span for an exclusive one: each span's last placeholder keeps its id."""
    padded = list(ids)
    for spans, value in items:
        for start, end in spans:
            padded[start:end] = [value] * (end - start)
    return padded


FAULTS = (
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
