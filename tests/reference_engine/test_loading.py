"""What is chosen at load."""

from __future__ import annotations

import importlib.util
from contextlib import nullcontext

import pytest

from reference_engine import ConfigError, EngineConfig
from reference_engine.attention.ragged import RaggedStep
from reference_engine.attention.sdpa import SDPAStep
from reference_engine.loading import choose_backend, refuse_recording, spread_over_ranks


def test_a_cpu_attends_in_plain_pytorch() -> None:
    assert choose_backend(EngineConfig()) is RaggedStep
    assert choose_backend(EngineConfig(cuda_graph=True)) is SDPAStep  # the shapes of recordings must come back
    assert choose_backend(EngineConfig(device="cuda", attention="torch")) is SDPAStep


@pytest.mark.skipif(importlib.util.find_spec("triton") is not None, reason="triton is installed")
@pytest.mark.parametrize("settings", [{"attention": "triton"}, {"device": "cuda"}])
def test_a_missing_triton_is_named(settings: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=r"attention: .* needs triton .* attention=torch"):
        choose_backend(EngineConfig(**settings))


@pytest.mark.parametrize(
    ("device", "cuda_graph", "has_experts", "is_refused"),
    [
        ("cuda", True, True, True),
        ("cuda", True, False, False),
        ("cuda", False, True, False),
        ("cpu", True, True, False),
    ],
)
def test_experts_cannot_be_recorded_on_a_card(
    device: str, cuda_graph: bool, has_experts: bool, is_refused: bool
) -> None:
    config = EngineConfig(device=device, cuda_graph=cuda_graph)
    with pytest.raises(ConfigError, match="cuda_graph: not with a mixture of experts") if is_refused else nullcontext():
        refuse_recording(config, has_experts=has_experts)


def test_more_ranks_than_cards_are_refused() -> None:
    config = EngineConfig(device="cuda:1", tensor_parallel=99)
    with pytest.raises(ConfigError, match="tensor_parallel: 99 needs cards up to cuda:99"):
        spread_over_ranks(config, object())
