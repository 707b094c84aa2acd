"""``python -m reference_engine.sentinels.random_init ARCHITECTURE DIRECTORY [SEED]``: a checkpoint of a sentinel's
shape, untrained.

For tests that need a second model, and for the differential checks, where accuracy plays no part.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import torch

from reference_engine.sentinels.architectures import ARCHITECTURES


def main(architecture: str, directory: Path, seed: int = 0) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        tokenizer = ARCHITECTURES[architecture].save_tokenizer(Path(scratch))
    torch.manual_seed(seed)
    ARCHITECTURES[architecture].save_checkpoint(ARCHITECTURES[architecture].build_model(tokenizer), directory)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 0)
