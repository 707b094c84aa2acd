"""What is loaded, what is refused, and the self-test that must fail when the way into the model is wrong."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from reference_engine import ConfigError, Engine, EngineConfig
from reference_engine.hf import library, model
from reference_engine.loading import load


def test_loading_takes_seconds(bench: Any) -> None:
    started = time.process_time()  # one thread, so this is what an idle machine's clock would say
    Engine(EngineConfig(model=str(bench.path)))
    assert time.process_time() - started < 3


def test_importing_the_package_does_not_import_torch() -> None:
    code = "import sys, reference_engine; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_self_test_notices_attention_that_leaks(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stock attention over the packed row lets requests see each other, with no error (transformers' own default)."""
    monkeypatch.setattr(library, "TEXT_ATTENTION", "sdpa")
    with pytest.raises(ConfigError, match="packed and plain forward differ"):
        load(EngineConfig(model=str(bench.path)))


def test_the_self_test_notices_wrong_patches(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model.PatchLinear, "forward", lambda self, x: self.linear(x.flatten(1).flip(1)))
    with pytest.raises(ConfigError, match="packed and plain forward differ"):
        load(EngineConfig(model=str(bench.path)))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model_type": "llama4"}, "'llama4' is not served; known: .*qwen2_5_vl"),
        (
            {"text_config": {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 10.0, "factor": 2.0}}},
            "rope type 'dynamic'",
        ),
        (
            {
                "text_config": {
                    "layer_types": ["sliding_attention"] * 5,
                    "use_sliding_window": True,
                    "sliding_window": 8,
                }
            },
            "sliding",
        ),
    ],
)
def test_what_cannot_be_served_is_refused(bench: Any, tmp_path: Path, change: dict[str, Any], words: str) -> None:
    path = tmp_path / "model"
    shutil.copytree(bench.path, path)
    config = json.loads((path / "config.json").read_text())
    for key, value in change.items():
        config[key] = config[key] | value if isinstance(value, dict) else value
    (path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match=words):
        load(EngineConfig(model=str(path)))


def test_a_broken_checkpoint_is_a_config_error(bench: Any, tmp_path: Path) -> None:
    path = tmp_path / "model"
    shutil.copytree(bench.path, path, ignore=shutil.ignore_patterns("*.safetensors"))
    with pytest.raises(ConfigError, match="cannot be loaded"):
        load(EngineConfig(model=str(path)))
    with pytest.raises(ConfigError, match="num_blocks: 0 is not at least 1"):
        load(EngineConfig(model=str(bench.path), num_blocks=0))


@pytest.mark.skipif(importlib.util.find_spec("torchvision") is None, reason="nothing to mend without torchvision")
def test_torchvision_can_be_imported_beside_this_torch() -> None:
    code = "import reference_engine.hf, torchvision.transforms.v2"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
