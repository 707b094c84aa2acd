"""What is chosen at load."""

from __future__ import annotations

import importlib.util

import pytest

from reference_engine import ConfigError, EngineConfig
from reference_engine.attention.ragged import RaggedStep
from reference_engine.attention.sdpa import SDPAStep
from reference_engine.loading import choose_backend


def test_a_cpu_attends_in_plain_pytorch() -> None:
    assert choose_backend(EngineConfig()) is RaggedStep
    assert choose_backend(EngineConfig(cuda_graph=True)) is SDPAStep  # the shapes of recordings must come back
    assert choose_backend(EngineConfig(device="cuda", attention="torch")) is SDPAStep


@pytest.mark.skipif(importlib.util.find_spec("triton") is not None, reason="triton is installed")
@pytest.mark.parametrize("settings", [{"attention": "triton"}, {"device": "cuda"}])
def test_a_missing_triton_is_named(settings: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=r"attention: .* needs triton .* attention=torch"):
        choose_backend(EngineConfig(**settings))
