"""Faults of cutting an encoder batch into items."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from reference_engine.errors import EncoderMismatch
from reference_engine.faults.catalogue import Fault
from reference_engine.multimodal.placeholders import Span
from reference_engine.vision import span_lengths
from reference_engine.vision import split_rows as clean_split

Split = list[Tensor | EncoderMismatch]
NO_MISCOUNT = "the encoder returns what an item holds: layouts are compared first, those of a processor's output too"
NEVER_FITTED = "3: rows are never padded, truncated or scaled to fit"


def split_by_first_span(rows_RD: Tensor, row_counts: Sequence[Sequence[int]], spans: Sequence[Sequence[Span]]) -> Split:
    """Takes each item's FIRST span for the whole item: whatever follows a sliced item gets a neighbour's rows."""
    offset = 0
    split: Split = []
    for item, item_spans in enumerate(spans):
        holds = span_lengths(item_spans)
        rows = rows_RD[offset : offset + holds[0]]
        offset += holds[0]
        enough = len(rows) >= sum(holds)
        split.append(rows if enough else EncoderMismatch(item, list(item_spans), sum(holds), len(rows)))
    return split


def split_checking_the_first_item(
    rows_RD: Tensor, row_counts: Sequence[Sequence[int]], spans: Sequence[Sequence[Span]]
) -> Split:
    """Counts of every other item are not compared."""
    parts = list(rows_RD.split([sum(counts) for counts in row_counts]))
    return [*clean_split(rows_RD, row_counts, spans)[:1], *parts[1:]]


def split_in_proportion(rows_RD: Tensor, row_counts: Sequence[Sequence[int]], spans: Sequence[Sequence[Span]]) -> Split:
    """What is expected is scaled until it adds up to what came."""
    expected = [sum(span_lengths(item_spans)) for item_spans in spans]
    ends = [round(sum(expected[: i + 1]) * len(rows_RD) / sum(expected)) for i in range(len(expected))]
    return [rows_RD[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def _fitted(fit: Callable[[Tensor, int], Tensor]) -> Callable[..., Split]:
    """Rows of an item that has too few or too many are made to fit."""

    def split(rows_RD: Tensor, row_counts: Sequence[Sequence[int]], spans: Sequence[Sequence[Span]]) -> Split:
        parts = rows_RD.split([sum(counts) for counts in row_counts])
        return [fit(part, sum(span_lengths(own))) for part, own in zip(parts, spans, strict=True)]

    return split


def _padded(rows_RD: Tensor, expected: int) -> Tensor:
    missing = max(0, expected - len(rows_RD))
    return torch.cat([rows_RD, rows_RD.new_zeros(missing, rows_RD.shape[1])])[:expected]


def _or_nothing(rows_RD: Tensor, expected: int) -> Tensor:
    return rows_RD if len(rows_RD) == expected else rows_RD.new_zeros(expected, rows_RD.shape[1])


FAULTS = (
    Fault(
        "F1-01", "sglang#26442 (reverts #25910)",
        "the cross-request encoder batch is split by the first span of each item",
        "2: split(concat(items)) == items for any mix of requests", {"split_rows": split_by_first_span},
        "an item with several spans is in the pass", ("vit_batching=cross_request",), "several spans an item",
    ),
    Fault(
        "F1-08", "transformers#34332", "rows are compared with placeholders for the first item of a pass alone",
        "3: a mismatch is that request's error, and only that request's", {"split_rows": split_checking_the_first_item},
        "the encoder returns other rows than an item holds", ("vit_batching=cross_request",), hidden=NO_MISCOUNT,
    ),
    Fault(
        "F1-16", "TensorRT-LLM#4008", "rows that are too many are cut off", NEVER_FITTED,
        {"split_rows": _fitted(lambda rows, expected: rows[:expected])},
        "the encoder returns other rows than an item holds", ("vit_batching=cross_request",), hidden=NO_MISCOUNT,
    ),
    Fault(
        "fix-scaled", "a wrong mending of sglang#26442", "split sizes are scaled in proportion until they add up",
        NEVER_FITTED, {"split_rows": split_in_proportion}, "the encoder returns other rows than an item holds",
        ("vit_batching=cross_request",), hidden=NO_MISCOUNT,
    ),
    Fault(
        "fix-padded", "a wrong mending of TensorRT-LLM#4008", "rows are padded or cut to fit", NEVER_FITTED,
        {"split_rows": _fitted(_padded)}, "the encoder returns other rows than an item holds",
        ("vit_batching=cross_request",), hidden=NO_MISCOUNT,
    ),
    Fault(
        "fix-no-embedding", "a wrong mending of vllm#55546", "an item that does not fit is run without its rows",
        NEVER_FITTED, {"split_rows": _fitted(_or_nothing)}, "the encoder returns other rows than an item holds",
        ("vit_batching=cross_request",), hidden=NO_MISCOUNT,
    ),
)  # fmt: skip
