"""The attention function that transformers calls refuses what it does not know."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from reference_engine.attention import paged_attention

MODULE: Any = SimpleNamespace(layer_idx=1)


def test_unknown_options_of_a_model_are_refused() -> None:
    q = torch.zeros(1, 4, 1, 8)
    with pytest.raises(NotImplementedError, match="s_aux"):
        paged_attention(MODULE, q, q, q, None, scaling=1.0, paged=SimpleNamespace(), s_aux=q)
    with pytest.raises(NotImplementedError, match="attention_mask"):
        paged_attention(MODULE, q, q, q, torch.zeros(1), scaling=1.0, paged=SimpleNamespace())
