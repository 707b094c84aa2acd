"""The seam between a decoder and its cache: what a step's attention must do, whoever does it.

A step's new tokens of all requests stand in one row, each request's in one :class:`Window`. A backend is chosen at
load. Before every forward pass it is told the windows, and makes a :class:`PagedStep`: whatever is the same for all
layers (slots, block tables, masks, tiles) is computed there, once. The step travels through the model's keyword
arguments to :func:`paged_attention`, which transformers calls in every layer. What a token may see is decided behind
this seam and only there: no mask comes from the model, and no request can see another's tokens.

Shapes: T new tokens, L context length, H query heads, G key/value heads, D key width, V value width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from reference_engine.kv_cache import KVCache

Span = tuple[int, int]


class Window(NamedTuple):
    """Tokens ``start`` to ``stop`` - 1 of the request in a lane, new in this step; all before them are in the cache."""

    lane: int
    start: int
    stop: int
    both_ways: tuple[Span, ...] = ()
    """Spans of the request, inclusive, in which every token sees every other (Gemma 3's images). None is cut by
    ``stop``."""

    @property
    def length(self) -> int:
        return self.stop - self.start


class PagedStep(Protocol):
    """One step's attention, the same object for every layer."""

    def attend(
        self, layer: int, q_1HTD: Tensor, k_1GTD: Tensor, v_1GTV: Tensor, scaling: float, sliding: int | None = None,
        softcap: float | None = None,
    ) -> Tensor:  # fmt: skip
        """Write the new keys and values to the cache, then attend causally within each request. [T, H, V].

        ``sliding``: a token sees itself and the ``sliding`` - 1 before it, beside its span that attends both ways.
        ``softcap``: a score s becomes softcap * tanh(s / softcap).
        """


Backend = Callable[[KVCache, Sequence[Window]], PagedStep]
"""Windows stand in the order of the row; those of one token (decoding requests) come first."""


def paged_attention(
    module: Any,
    q_1HTD: Tensor,
    k_1GTD: Tensor,
    v_1GTV: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float,
    paged: PagedStep,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """The decoder's attention function. Returns [1, T, H, V]. Refuses any option of the model that it does not know."""
    _refuse_unknown(attention_mask, options)
    return paged.attend(module.layer_idx, q_1HTD, k_1GTD, v_1GTV, scaling, sliding_window, softcap)[None], None


def visible(window: Window, sliding: int | None) -> Tensor | None:
    """What each of the window's tokens may see: bool [T, L] on the CPU, L being ``stop``; None where all that is
    computed so far is new and simply causal.
    """
    simple = sliding is None or sliding >= window.stop
    if simple and window.start == 0 and not window.both_ways:
        return None
    q_T1, k_L = torch.arange(window.start, window.stop)[:, None], torch.arange(window.stop)
    mask_TL = k_L <= q_T1
    if not simple:
        mask_TL &= k_L > q_T1 - (sliding or 0)
    for first, last in window.both_ways:
        mask_TL |= (q_T1 >= first) & (q_T1 <= last) & (k_L >= first) & (k_L <= last)
    return mask_TL


def _refuse_unknown(attention_mask: Tensor | None, options: dict[str, Any]) -> None:
    known = {"position_ids", "use_cache", "dropout"}
    unknown = sorted(name for name, value in options.items() if value is not None and name not in known)
    if attention_mask is not None or options.get("dropout"):
        unknown.append("attention_mask" if attention_mask is not None else "dropout")
    if unknown:
        raise NotImplementedError(f"paged attention does not implement the model's {', '.join(unknown)}")
