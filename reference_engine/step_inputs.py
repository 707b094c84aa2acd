"""What goes into a step and comes out of it, row by row, as functions of what they look at and nothing else.

Shapes: T new tokens of the step, E hidden, R image rows, M deepstack layers, B decoding requests, N chunks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

if TYPE_CHECKING:
    from reference_engine.live_request import LiveRequest


class Decodes(Protocol):
    """A request's one token of a step."""

    @property
    def live(self) -> LiveRequest: ...

    @property
    def start(self) -> int: ...


def last_tokens(decoding: Sequence[Decodes]) -> list[int]:
    """The token that each decoding request got last, from its own answer."""
    return [c.live.output_ids[c.start - c.live.prompt_length] for c in decoding]


def embed(decoder: Any, ids_T: Tensor, decoding: Sequence[Decodes]) -> Tensor:
    """Embeddings [T, E]; the first ids are those of ``decoding``. An id is an id: one that a model sampled, or a user
    typed, is never taken for an image's place (verl#3469)."""
    return decoder.embed(ids_T)


def cut_rows(rows_RD: Tensor, window: slice, width: int) -> Tensor:
    """The rows of a window, those of deepstack layers beside them (columns from ``width`` on) by the same window."""
    return rows_RD[window]


def lay_rows(x_TE: Tensor, places_R: Tensor, rows_RE: Tensor) -> None:
    """Image rows over the embeddings, by position. Raises where they are not as many: one row is never spread."""
    x_TE.index_copy_(0, places_R, rows_RE)


def deepstack_of(mask_T: Tensor, rows_RME: Tensor, decoding: Sequence[Decodes]) -> tuple[Tensor, Tensor] | None:
    """What deepstack layers are given: one structure in every step that lays rows (vllm#43617)."""
    return mask_T, rows_RME


def last_rows(lengths: Sequence[int]) -> Tensor:
    """Where each chunk's last token is among the tokens of the step: int64 [N]."""
    return torch.tensor(lengths).cumsum(0) - 1
