"""Sentinels: tiny trained checkpoints in real architectures, whose answers depend on which image, which cell and
which order."""

from __future__ import annotations

from pathlib import Path

from reference_engine import random_models
from reference_engine.errors import ConfigError

ROOT = Path(__file__).parent
PACKAGED = {
    "sentinel-qwen2.5-vl": ROOT / "qwen2_5_vl",
    "sentinel-qwen3-vl": ROOT / "qwen3_vl",
    "sentinel-idefics3": ROOT / "idefics3",
}


def resolve_model(name_or_path: str) -> Path:
    """The checkpoint directory behind a packaged name, a random model's name or a path.

    Raises :class:`ConfigError` when there is none.
    """
    if name_or_path in PACKAGED:
        return PACKAGED[name_or_path]
    if name_or_path in random_models.NAMES:
        return random_models.random_model(name_or_path)
    path = Path(name_or_path)
    if (path / "config.json").is_file():
        return path
    raise ConfigError(
        f"model: {name_or_path!r} is neither a directory with a config.json nor a packaged sentinel "
        f"({', '.join(sorted(PACKAGED))}) nor a random model ({', '.join(sorted(random_models.NAMES))})"
    )
