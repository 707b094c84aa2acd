"""Faults of laying out a step and reading its results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from reference_engine import graphs
from reference_engine import step_inputs as clean
from reference_engine.faults.catalogue import Fault

ONE_WINDOW = "12: every per-token side tensor is cut by the same window"
LONGEST = 256
PAD_TO = 8


def placeholders_are_images(decoder: Any, ids_T: Tensor, decoding: Sequence[Any]) -> Tensor:
    """Every placeholder id stands for an image's row, also one that the model sampled."""
    for chunk, token in zip(decoding, ids_T.tolist(), strict=False):
        features = {chunk.live.prompt.ids[span[0]] for item in chunk.live.prompt.items for span in item.spans}
        if token in features:
            raise ValueError("image features and image tokens do not match: tokens 1, features 0")
    return clean.embed(decoder, ids_T, decoding)


def ring_of_two(decoding: Sequence[Any]) -> list[int]:
    """Tokens wait in a ring of two slots for the step that needs them."""
    ring: dict[int, int] = {}
    for i, token in enumerate(clean.last_tokens(decoding)):
        ring[i % 2] = token
    return [ring[i % 2] for i in range(len(decoding))]


def deepstack_from_the_first_row(rows_RD: Tensor, window: slice, width: int) -> Tensor:
    """The window is cut from an image's rows, but not from what goes with them to deeper layers."""
    rows = rows_RD[window]
    return torch.cat([rows[:, :width], rows_RD[: len(rows), width:]], dim=1)


def padding_counts(rows_RD: Tensor, window: slice, width: int) -> Tensor:
    """A chunk's rows are asked for by its padded length."""
    rows = rows_RD[window]
    padded = -(-len(rows) // PAD_TO) * PAD_TO
    if rows_RD.shape[1] > width and len(rows) < len(rows_RD) and window.start + padded > len(rows_RD):
        raise ValueError(f"requested {padded} > available {len(rows_RD) - window.start}")
    return rows


def none_while_decoding(mask_T: Tensor, rows_RME: Tensor, decoding: Sequence[Any]) -> tuple[Tensor, Tensor] | None:
    """A step that was compiled without deepstack rows never has any."""
    return None if decoding else (mask_T, rows_RME)


class OnePlaceBuffer:
    """The host's buffer of places is written to while it is still being copied: the step gets the places of the one
    before, where they are as many."""

    def __init__(self) -> None:
        self._before: Tensor | None = None

    def __call__(self, x_TE: Tensor, places_R: Tensor, rows_RE: Tensor) -> None:
        before, self._before = self._before, places_R
        same = before is not None and len(before) == len(places_R) and int(before.max()) < len(x_TE)
        clean.lay_rows(x_TE, before if same and before is not None else places_R, rows_RE)


class MovedBuffer:
    """After a large step the first buffer is another one than the recordings read."""

    def __init__(self) -> None:
        self._moved = False

    def __call__(self, recorded: Sequence[Tensor], inputs: Sequence[Tensor]) -> None:
        self._moved |= len(inputs[0]) >= PAD_TO
        kept = 1 if self._moved and len(inputs[0]) < PAD_TO else 0
        graphs.copy_inputs(recorded[kept:], inputs[kept:])


def rows_of_a_short_buffer(lengths: Sequence[int]) -> Tensor:
    """The buffer of a step is as long as one prompt may be."""
    return clean.last_rows(lengths).clamp(max=LONGEST - 1)


FAULTS = (
    Fault(
        "F1-07", "R1-V#180 / verl#3469", "a placeholder that the model sampled is counted as an image's",
        "16: placement follows provenance, never equality with a reserved id", {"embed": placeholders_are_images},
        "a model samples its own placeholder",
    ),
    Fault(
        "F2-12", "vllm#10891", f"rows past {LONGEST} of a step are read from its {LONGEST}th",
        "2: a batch of N == N runs alone", {"last_rows": rows_of_a_short_buffer},
        f"a step has more than {LONGEST} tokens", analogue=True,
    ),
    Fault(
        "F5-11", "mlx-vlm#1332", "deepstack rows are not cut with the chunk", ONE_WINDOW,
        {"cut_rows": deepstack_from_the_first_row}, "a chunk begins inside an image or after one",
        ("chunked_prefill",), "deepstack",
    ),
    Fault(
        "F5-12", "vllm#41485", "a padded number of deepstack rows is asked for from a buffer that is not padded",
        ONE_WINDOW, {"cut_rows": padding_counts}, "a chunk has some of an image's rows", ("chunked_prefill",),
        "deepstack", analogue=True,
    ),
    Fault(
        "F10-01", "vllm#43617", "steps in which others decode run without deepstack rows",
        "15: a compiled path is keyed by the full layout", {"deepstack_of": none_while_decoding},
        "a prompt is filled beside a request that decodes", families="deepstack", analogue=True,
    ),
    Fault(
        "F10-04", "FastDeploy#5962", "after a large step, smaller recordings read a buffer that nobody writes",
        "15: a captured graph is keyed by the full layout; changing a live input must change the output",
        {"copy_inputs": MovedBuffer()}, "smaller steps follow one of 8 rows or more", ("cuda_graph=on",),
    ),
    Fault(
        "F10-05", "vllm#31841", "image rows are laid at the places of the step before",
        "12: buffers in flight are not written to", {"lay_rows": OnePlaceBuffer()},
        "two steps lay as many rows at different places", analogue=True,
    ),
    Fault(
        "F10-07", "sglang-jax#1487", "tokens wait for their step in a ring of two slots",
        "17: no request touches another's rows or logits", {"last_tokens": ring_of_two},
        "three requests decode together",
    ),
)  # fmt: skip
