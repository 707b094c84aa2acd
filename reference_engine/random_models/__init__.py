"""Complete tiny checkpoints with random weights, one for every family that is served: ``random-qwen3-vl`` and so on.

Made on first use, from a fixed seed, in a cache directory outside the package (``ASSAY_CACHE``, else the user's cache
directory), in Hugging Face format: ``AutoProcessor`` and ``AutoModelForImageTextToText`` load them like any other, so
that ``generate`` can judge this engine. Weights are large enough that answers depend on every token and hardly ever
repeat one; what they say means nothing.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

VERSION = 2
"""Part of the directory's name: raise it whenever what is written changes."""
NAMES = {
    "random-qwen2-vl": "qwen2_vl",
    "random-qwen2.5-vl": "qwen2_5_vl",
    "random-qwen3-vl": "qwen3_vl",
    "random-glm4v": "glm4v",
    "random-idefics3": "idefics3",
    "random-smolvlm": "smolvlm",
    "random-llava": "llava",
    "random-internvl": "internvl",
    "random-llava-onevision": "llava_onevision",
    "random-qwen2": "qwen2",
    "random-gemma3": "gemma3",
    "random-kimi-k2.5": "kimi_k25",
    "random-minicpm-v": "minicpmv4_6",
    "random-qwen3": "qwen3",
    "random-llama": "llama",
    "random-gemma2": "gemma2",
}
"""Model names and transformers' model types."""


def cache_directory() -> Path:
    root = os.environ.get("ASSAY_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "assay"
    return Path(root) / "random-models"


def random_model(name: str) -> Path:
    """The checkpoint's directory; made now if it is not there. Several processes may ask at once."""
    path = cache_directory() / f"{name}-{VERSION}"
    if not (path / "config.json").is_file():
        from reference_engine.random_models.writing import write_checkpoint

        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{name}-"))
        write_checkpoint(NAMES[name], scratch)
        try:
            scratch.rename(path)
        except OSError:  # another process was first: a directory with files in it is not replaced
            shutil.rmtree(scratch)
    return path
