"""The seam between a decoder and its cache: what a step's attention must do, whoever does it.

A step's new tokens of all requests stand in one row, each request's in one :class:`Window`. A backend is chosen at
load. Before every forward pass it is told the windows, and makes a :class:`PagedStep`: whatever is the same for all
layers (slots, block tables, masks, tiles) is computed there, once. The step travels through the model's keyword
arguments to :func:`paged_attention`, which transformers calls in every layer. What a token may see is decided behind
this seam and only there: no mask comes from the model, and no request can see another's tokens.

Shapes: T new tokens, H query heads, G key/value heads, D head width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from reference_engine.kv_cache import KVCache


@dataclass(frozen=True)
class Window:
    """Tokens ``start`` to ``stop`` - 1 of the request in a lane, new in this step; all before them are in the cache."""

    lane: int
    start: int
    stop: int

    @property
    def length(self) -> int:
        return self.stop - self.start


class PagedStep(Protocol):
    """One step's attention, the same object for every layer."""

    def attend(self, layer: int, q_1HTD: Tensor, k_1GTD: Tensor, v_1GTD: Tensor, scaling: float) -> Tensor:
        """Write the new keys and values to the cache, then attend causally within each request. [T, H, D]."""


Backend = Callable[[KVCache, Sequence[Window]], PagedStep]
"""Windows stand in the order of the row; those of one token (decoding requests) come first."""


def paged_attention(
    module: Any,
    q_1HTD: Tensor,
    k_1GTD: Tensor,
    v_1GTD: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float,
    paged: PagedStep,
    **options: Any,
) -> tuple[Tensor, None]:
    """The decoder's attention function. Returns [1, T, H, D]. Refuses any option of the model that it does not know."""
    _refuse_unknown(attention_mask, options)
    return paged.attend(module.layer_idx, q_1HTD, k_1GTD, v_1GTD, scaling)[None], None


def _refuse_unknown(attention_mask: Tensor | None, options: dict[str, Any]) -> None:
    known = {"position_ids", "use_cache", "dropout"}
    unknown = sorted(name for name, value in options.items() if value is not None and name not in known)
    if attention_mask is not None or options.get("dropout"):
        unknown.append("attention_mask" if attention_mask is not None else "dropout")
    if unknown:
        raise NotImplementedError(f"paged attention does not implement the model's {', '.join(unknown)}")
