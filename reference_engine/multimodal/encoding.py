"""From a pass's items to the rows of each of their spans: the family joins, the model encodes, the family takes
apart.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from torch import Tensor

from reference_engine.multimodal.family import Family
from reference_engine.multimodal.prompt import PreparedItem


class Encodes(Protocol):
    """The part of a model that encodes."""

    def features(self, modality: str, tensors: Mapping[str, Tensor]) -> Any:
        """``rows`` and ``deepstack`` as the encoder returned them."""


def encoder(model: Encodes, family: Family) -> Callable[[Sequence[PreparedItem]], list[list[Tensor]]]:
    """Items of one modality -> rows [r, D] of every span of every item, as many as came back."""

    def encode(items: Sequence[PreparedItem]) -> list[list[Tensor]]:
        pixels = [item.pixels for item in items]
        made = model.features(items[0].modality, family.collate(pixels))
        return family.span_rows(made.rows, made.deepstack, pixels)

    return encode
