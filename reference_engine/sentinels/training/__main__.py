"""``python -m reference_engine.sentinels.training ARCHITECTURE --out DIRECTORY [--work DIRECTORY] [--seed 0]``

Makes a sentinel from nothing in two halves, on one CPU thread each and from one seed: 10 to 15 and 20 to 35 minutes.
The halves do not need each other: run ``--only tower`` and ``--only language`` side by side on two cores, then once
without ``--only``, which puts them together. A half whose result lies in ``--work`` is not made again.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from reference_engine.sentinels.architectures import ARCHITECTURES
from reference_engine.sentinels.architectures.base import Architecture
from reference_engine.sentinels.card import write_card
from reference_engine.sentinels.training.language import judge_batches, train_language
from reference_engine.sentinels.training.packing import STAGES, IdealPool
from reference_engine.sentinels.training.tower import train_tower

if TYPE_CHECKING:
    from transformers import Qwen2Tokenizer


def _report(half: str, figures: Iterator[dict[str, float]]) -> None:
    began = time.monotonic()
    for row in figures:
        shown = " ".join(f"{name}={value:.4g}" for name, value in row.items())
        print(f"{half} {time.monotonic() - began:6.0f}s {shown}", flush=True)


def fresh_model(architecture: Architecture, tokenizer: Qwen2Tokenizer, seed: int) -> Any:
    torch.manual_seed(seed)
    model = architecture.build_model(tokenizer)
    architecture.speed_up(model)
    return model


def tower_half(architecture: Architecture, tokenizer: Qwen2Tokenizer, seed: int, result: Path, shorten: int) -> None:
    model = fresh_model(architecture, tokenizer, seed)
    for number, steps in enumerate(architecture.tower_steps):
        large_from = 0.0 if number else 0.3
        figures = train_tower(architecture, model, steps=steps // shorten, seed=seed + number, large_from=large_from)
        _report("tower", figures)
    torch.save({name: t for name, t in model.state_dict().items() if architecture.in_tower(name)}, result)


def language_half(architecture: Architecture, tokenizer: Qwen2Tokenizer, seed: int, result: Path, shorten: int) -> None:
    model, pool = fresh_model(architecture, tokenizer, seed), IdealPool(architecture)
    judged = judge_batches(architecture, tokenizer, pool, seed + 7)
    for number, steps in enumerate(architecture.language_steps):
        if number:
            torch.manual_seed(seed + number)
        _report("language", train_language(
            architecture, model, tokenizer, pool, judged, steps=steps // shorten, seed=seed + number, peak=1.5e-3,
            first_stage=len(STAGES) - 1 if number else 0,
        ))  # fmt: skip
    torch.save({name: t for name, t in model.state_dict().items() if not architecture.in_tower(name)}, result)


def main() -> None:
    parser = argparse.ArgumentParser(prog="reference_engine.sentinels.training", description=__doc__)
    parser.add_argument("architecture", choices=ARCHITECTURES)
    parser.add_argument("--out", type=Path, help="where the checkpoint goes")
    parser.add_argument("--work", type=Path, default=Path("sentinel-training"), help="where the halves' results lie")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=("tower", "language"))
    parser.add_argument("--shorten", type=int, default=1, help="divide the steps by this, to try the script out")
    args = parser.parse_args()
    if not args.only and not args.out:
        parser.error("--out: needed unless --only is given")
    torch.set_num_threads(1)  # the order of every sum is then fixed, and the weights reproducible
    architecture = ARCHITECTURES[args.architecture]
    args.work.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        tokenizer = architecture.save_tokenizer(Path(scratch))
    tower, language = args.work / "tower.pt", args.work / "language.pt"
    if args.only != "language" and not tower.exists():
        tower_half(architecture, tokenizer, args.seed, tower, args.shorten)
    if args.only != "tower" and not language.exists():
        language_half(architecture, tokenizer, args.seed, language, args.shorten)
    if args.only:
        return
    torch.manual_seed(args.seed)
    model = architecture.build_model(tokenizer)
    model.load_state_dict(torch.load(language) | torch.load(tower))
    architecture.save_checkpoint(model, args.out)
    write_card(args.out)
    print(f"saved to {args.out}")


if __name__ == "__main__":
    main()
