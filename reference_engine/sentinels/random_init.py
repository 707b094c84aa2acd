"""``python -m reference_engine.sentinels.random_init DIRECTORY [SEED]``: a checkpoint of the sentinel's shape,
untrained.

For tests that need a second model, and for the differential checks, where accuracy plays no part.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import torch

from reference_engine.sentinels.architecture import build_model, save_checkpoint
from reference_engine.sentinels.tokenizer import save_tokenizer


def main(directory: Path, seed: int = 0) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        tokenizer = save_tokenizer(Path(scratch))
    torch.manual_seed(seed)
    save_checkpoint(build_model(tokenizer), directory)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0)
