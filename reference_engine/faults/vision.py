"""Faults of the encoder batch."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from reference_engine.errors import EncoderMismatch
from reference_engine.faults.catalogue import Fault
from reference_engine.multimodal.placeholders import Span
from reference_engine.vision import span_lengths


def split_by_first_span(
    rows_RD: Tensor, row_counts: Sequence[Sequence[int]], spans: Sequence[Sequence[Span]]
) -> list[Tensor | EncoderMismatch]:
    """Takes each item's FIRST span for the whole item: whatever follows a sliced item gets a neighbour's rows."""
    offset = 0
    split: list[Tensor | EncoderMismatch] = []
    for item, item_spans in enumerate(spans):
        holds = span_lengths(item_spans)
        rows = rows_RD[offset : offset + holds[0]]
        offset += holds[0]
        enough = len(rows) >= sum(holds)
        split.append(rows if enough else EncoderMismatch(item, list(item_spans), sum(holds), len(rows)))
    return split


FAULTS = (
    Fault(
        id="F1-01",
        reference="sglang#26442 (reverts #25910)",
        summary="the cross-request encoder batch is split by the first span of each item",
        invariant="2: split(concat(items)) == items for any mix of requests",
        replaces={"split_rows": split_by_first_span},
        acts_when="vit_batching=cross_request and an item with several spans in the pass",
    ),
)
