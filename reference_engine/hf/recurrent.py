"""Layers that carry a state from token to token instead of looking back (gated delta nets: Qwen3.5's decoder, and
MiniCPM-V's on it).

In a packed row such a layer would run one request into the next. Here it runs once a request, with transformers' own
code and a state of that request's own, kept by lane. A request that starts, or starts again after it was preempted,
begins with a fresh state; so nothing that is computed may be skipped, and no prefix is shared between requests.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from reference_engine.attention import Window
from reference_engine.hf.library import transformers

LAYERS = ("Qwen3_5GatedDeltaNet",)


class Windowed(Protocol):
    """A step that says which requests stand where in its row."""

    windows: Sequence[Window]


class States:
    """transformers' caches by lane, for all recurrent layers of a model; nothing but recurrent layers writes them."""

    def __init__(self, text_config: Any) -> None:
        self._config = text_config
        self._by_lane: dict[int, Any] = {}

    def of(self, window: Window, first_layer: bool) -> Any:
        """The state before the window's first token."""
        if window.start == 0 and first_layer:
            self._by_lane[window.lane] = transformers.DynamicCache(config=self._config)
        return self._by_lane[window.lane]


class PerRequest(nn.Module):
    """One recurrent layer, called for each request of a packed row."""

    def __init__(self, layer: nn.Module, states: States, *, first: bool) -> None:
        super().__init__()
        self.layer, self.states, self.first = layer, states, first

    def forward(self, hidden_states: Tensor, *, paged: Windowed, **_: Any) -> Tensor:
        """[1, T, E] -> [1, T, E]"""
        parts = hidden_states.split([window.length for window in paged.windows], dim=1)
        return torch.cat([self._run(part, window) for part, window in zip(parts, paged.windows, strict=True)], dim=1)

    def _run(self, hidden_1LE: Tensor, window: Window) -> Tensor:
        made: Tensor = self.layer(hidden_1LE, cache_params=self.states.of(window, self.first), attention_mask=None)
        return made


def separate_requests(decoder: nn.Module, text_config: Any) -> None:
    """Wrap every recurrent layer of a decoder; most decoders have none."""
    states, found = States(text_config), 0
    for parent in list(decoder.modules()):
        for name, child in list(parent.named_children()):
            if type(child).__name__ in LAYERS:
                setattr(parent, name, PerRequest(child, states, first=found == 0))
                found += 1
