"""``python -m reference_engine.sentinels.training --out DIRECTORY [--work DIRECTORY] [--seed 0]``

Makes the Qwen2.5-VL sentinel from nothing in two halves, on one CPU thread each and from one seed: about 15 and 35
minutes. The halves do not need each other: run ``--only tower`` and ``--only language`` side by side on two cores, then
once without ``--only``, which puts them together. A half whose result lies in ``--work`` is not made again.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from reference_engine.sentinels.architecture import build_model, save_checkpoint
from reference_engine.sentinels.card import write_card
from reference_engine.sentinels.tokenizer import save_tokenizer
from reference_engine.sentinels.training.language import judge_batches, train_language
from reference_engine.sentinels.training.packing import IdealPool
from reference_engine.sentinels.training.tower import speed_up, train_tower

if TYPE_CHECKING:
    from transformers import Qwen2_5_VLForConditionalGeneration, Qwen2Tokenizer

TOWER_STEPS, LANGUAGE_STEPS = 4000, 4500


def _report(half: str, figures: Iterator[dict[str, float]]) -> None:
    began = time.monotonic()
    for row in figures:
        shown = " ".join(f"{name}={value:.4g}" for name, value in row.items())
        print(f"{half} {time.monotonic() - began:6.0f}s {shown}", flush=True)


def fresh_model(tokenizer: Qwen2Tokenizer, seed: int) -> Qwen2_5_VLForConditionalGeneration:
    torch.manual_seed(seed)
    model = build_model(tokenizer)
    speed_up(model)
    return model


def tower_half(tokenizer: Qwen2Tokenizer, seed: int, result: Path, steps: int) -> None:
    model = fresh_model(tokenizer, seed)
    _report("tower", train_tower(model, steps=steps, seed=seed))
    torch.save(model.model.visual.state_dict(), result)


def language_half(tokenizer: Qwen2Tokenizer, seed: int, result: Path, steps: int) -> None:
    model, pool = fresh_model(tokenizer, seed), IdealPool()
    model.model.visual.requires_grad_(False)
    judged = judge_batches(tokenizer, pool, seed + 7)
    _report("language", train_language(model, tokenizer, pool, judged, steps=steps, seed=seed, peak=1.5e-3))
    torch.save(model.state_dict(), result)


def main() -> None:
    parser = argparse.ArgumentParser(prog="reference_engine.sentinels.training", description=__doc__)
    parser.add_argument("--out", type=Path, help="where the checkpoint goes")
    parser.add_argument("--work", type=Path, default=Path("sentinel-training"), help="where the halves' results lie")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=("tower", "language"))
    parser.add_argument("--shorten", type=int, default=1, help="divide the steps by this, to try the script out")
    args = parser.parse_args()
    if not args.only and not args.out:
        parser.error("--out: needed unless --only is given")
    torch.set_num_threads(1)  # the order of every sum is then fixed, and the weights reproducible
    args.work.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        tokenizer = save_tokenizer(Path(scratch))
    tower, language = args.work / "tower.pt", args.work / "language.pt"
    if args.only != "language" and not tower.exists():
        tower_half(tokenizer, args.seed, tower, TOWER_STEPS // args.shorten)
    if args.only != "tower" and not language.exists():
        language_half(tokenizer, args.seed, language, LANGUAGE_STEPS // args.shorten)
    if args.only:
        return
    torch.manual_seed(args.seed)
    model = build_model(tokenizer)
    model.load_state_dict(torch.load(language))
    model.model.visual.load_state_dict(torch.load(tower))
    save_checkpoint(model, args.out)
    write_card(args.out)
    print(f"saved to {args.out}")


if __name__ == "__main__":
    main()
