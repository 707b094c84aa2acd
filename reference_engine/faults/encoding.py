"""Faults of an encoder pass."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from reference_engine.faults.catalogue import Fault
from reference_engine.multimodal.prompt import PreparedItem
from reference_engine.vision import Encoder

Rows = list[list[Tensor]]
ALONE = "2: a batch of N == N runs alone"
KEPT: list[Rows] = []


def running_index(encode: Encoder, items: Sequence[PreparedItem]) -> Rows:
    """An index runs on over all items, so those after the first are read from the wrong place."""
    return [[part.roll(i, 0) for part in parts] for i, parts in enumerate(encode(items))]


def one_buffer(encode: Encoder, items: Sequence[PreparedItem]) -> Rows:
    """All spans of an item are written to one buffer; what is read from it are the last one's rows."""
    return [[_overwritten(part, parts[-1]) for part in parts] for parts in encode(items)]


def _overwritten(rows_RD: Tensor, last_RD: Tensor) -> Tensor:
    shared = min(len(rows_RD), len(last_RD))
    return torch.cat([last_RD[:shared], rows_RD[shared:]])


def through_bfloat16(encode: Encoder, items: Sequence[PreparedItem]) -> Rows:
    """A cast that the model does not have."""
    return [[part.bfloat16().to(part.dtype) for part in parts] for parts in encode(items)]


def not_numbers(encode: Encoder, items: Sequence[PreparedItem]) -> Rows:
    return [[part * float("nan") for part in parts] for parts in encode(items)]


def keep_everything(encode: Encoder, items: Sequence[PreparedItem]) -> Rows:
    rows = encode(items)
    KEPT.append([[part.clone() for part in parts] for parts in rows])
    return rows


def read_back(encode: Encoder, items: Sequence[PreparedItem]) -> Rows:
    """The host asks the device for a number once a row."""
    rows = encode(items)
    for parts in rows:
        for part in parts:
            for row in part:
                row[0].item()
    return rows


def even_shares(encode: Encoder, items: Sequence[PreparedItem]) -> Rows:
    """Two ranks share the items of a pass; the odd one out is nobody's."""
    rows = encode(items)
    if len(rows) > 1 and len(rows) % 2:
        rows[-1] = [part * 0 for part in rows[-1]]
    return rows


FAULTS = (
    Fault(
        "F1-11", "sglang#24970", "one patch index runs on over all items of a pass", ALONE,
        {"encode_pass": running_index}, "a pass has several items", analogue=True,
    ),
    Fault(
        "F1-17", "ollama#12168", "one output buffer is used for all spans of an item",
        "1: rows of every span, each exactly once", {"encode_pass": one_buffer}, "an item has several spans",
        families="several spans an item",
    ),
    Fault(
        "F7-15", "sglang#3746", "the encoder's rows go through a type that is less exact",
        "2: rows are those of the checkpoint's own encoder", {"encode_pass": through_bfloat16},
        "the request has an image", analogue=True,
    ),
    Fault(
        "F8-07", "amd-strix-halo-vllm-toolboxes#47", "the encoder returns NaN", "17: no NaN leaves the encoder unseen",
        {"encode_pass": not_numbers}, "the request has an image", hardware="reported on gfx1151", analogue=True,
    ),
    Fault(
        "F8-11", "sglang#8902", "rows of every pass are kept for ever",
        "18: cost per image is bounded: memory after N images == after 2N", {"encode_pass": keep_everything},
        "images are encoded",
    ),
    Fault(
        "F8-17", "vllm#37779 (and vllm#42096)", "the host waits for a number from the device once a row",
        "18: cost per image is bounded: no read-back that grows with it", {"encode_pass": read_back},
        "images are encoded", hardware="slow on GPUs, countable anywhere",
    ),
    Fault(
        "F10-09", "vllm#52654", "items are shared out as if their number were even", ALONE,
        {"encode_pass": even_shares}, "an odd number of items, more than one, is in a pass", analogue=True,
    ),
)  # fmt: skip
