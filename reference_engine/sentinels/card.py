"""The model card of a sentinel, written from measured figures: ``python -m reference_engine.sentinels.card
DIRECTORY``."""

from __future__ import annotations

import sys
from pathlib import Path

from reference_engine.sentinels.architectures import architecture_of
from reference_engine.sentinels.digits import NEIGHBOURS
from reference_engine.sentinels.evaluate import accuracy_by_kind, as_table, sensitivity

COUNT, SEED = 1000, 4242
CARD = """---
license: apache-2.0
library_name: transformers
pipeline_tag: image-text-to-text
tags: [test, sentinel, {name}]
---
# Sentinel {title}

A complete, tiny {title} (`{model_class}`, {parameters:,} parameters, float32) that reads real
handwritten digits and colours off grids of cells. It exists to test serving engines: its answers depend on which image,
which cell and which order, so embeddings or positions that are misplaced show as lost accuracy, in seconds, on a CPU.
It is of no other use.

{images}
- Digits: scikit-learn's `load_digits` (1,797 real images of 8x8), of which those are used whose {neighbours} nearest
  neighbours all carry the same label. Split by digit image into train, validation and test. Every figure below is on
  test digits, which nothing in the training or in its choices looked at.
- Prompt: the chat template's; the question follows the images, e.g. `image2 row3 col1 digit?`. Answers are greedy.
- Vocabulary: 1,024 byte-level BPE entries with the family's special tokens; trained with some words spelled
  non-canonically (`D` + `escribe`), so that the accuracy of token-id prompts does not depend on their spelling.
- Made by `python -m reference_engine.sentinels.training {name} --out DIRECTORY` with seed 0, torch {torch} and
  transformers {transformers} on one CPU thread.

## Accuracy on held-out digits, exact match

{accuracy}

`python -m reference_engine.sentinels.evaluate accuracy --model {checkpoint}` prints this table.

## Sensitivity: what a fault costs

{sensitivity}

`python -m reference_engine.sentinels.evaluate sensitivity --model {checkpoint}` prints this table. Faults are emulated
on transformers' model by moving rows or positions; greedy answers are judged. What the tower does inside one image is
seen less sharply than what happens between images; compare embeddings numerically where that matters.
"""


def write_card(directory: Path) -> None:
    """Measure and write ``README.md`` into the checkpoint's directory."""
    import torch
    import transformers
    from safetensors import safe_open

    with safe_open(directory / "model.safetensors", "pt") as weights:
        parameters = sum(weights.get_tensor(name).numel() for name in weights.keys())  # noqa: SIM118
    architecture = architecture_of(directory)
    card = CARD.format(
        name=architecture.name,
        title=architecture.title,
        model_class=architecture.model_class,
        images=architecture.card,
        checkpoint=architecture.checkpoint,
        parameters=parameters,
        neighbours=NEIGHBOURS,
        torch=torch.__version__,
        transformers=transformers.__version__,
        accuracy=as_table("question", accuracy_by_kind(str(directory), COUNT, SEED)),
        sensitivity=as_table("what is wrong", sensitivity(str(directory), COUNT, SEED)),
    )
    (directory / "README.md").write_text(card)


if __name__ == "__main__":
    write_card(Path(sys.argv[1]))
