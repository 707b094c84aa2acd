"""Settings from strings and from the environment: typed, or refused in words that list what is allowed."""

from __future__ import annotations

import pytest

from reference_engine import ConfigError, EngineConfig


def test_environment_then_overrides() -> None:
    environ = {
        "ASSAY_VIT_BATCHING": "per_item",
        "ASSAY_CHUNKED_PREFILL": "7",
        "ASSAY_AVOID_RETOKENIZE": "off",
        "OTHER": "x",
    }
    config = EngineConfig.from_environment(environ, chunked_prefill=9, model=None)
    assert (config.vit_batching, config.chunked_prefill, config.avoid_retokenize) == ("per_item", 9, False)
    assert config.model == EngineConfig().model


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("vit_batching", "sometimes", "'sometimes' is not one of 'per_item', 'cross_request'"),
        ("avoid_retokenize", "maybe", "'maybe' is not on/off"),
        ("chunked_prefill", "x", "'x' is not an integer"),
        ("num_blocks", "-3", "-3 is negative"),
        ("retokenize", "on", "unknown setting 'retokenize'; known: attention, avoid_retokenize"),
    ],
)
def test_what_is_refused(name: str, value: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        EngineConfig.from_mapping({name: value})
    assert words in str(caught.value)


def test_toggles_are_the_settings_that_must_not_change_output() -> None:
    settings = EngineConfig().with_(chunked_prefill=5).toggle_settings()
    assert tuple(settings) == EngineConfig.toggles()
    assert {"avoid_retokenize", "vit_batching", "prefix_cache"} <= set(settings)
    assert not {"model", "dtype", "slice_rows", "num_blocks", "plant"} & set(settings)
    assert settings["chunked_prefill"] == 5
