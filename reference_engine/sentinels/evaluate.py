"""``python -m reference_engine.sentinels.evaluate {accuracy,sensitivity} [--model M] [--count N] [--seed S] [--json
FILE]``.

Both read held-out digits only and run transformers' own model classes. Exit status 1 when a requirement is missed.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from reference_engine.errors import ConfigError
from reference_engine.sentinels import resolve_model
from reference_engine.sentinels.architectures import architecture_of
from reference_engine.sentinels.architectures.base import Architecture
from reference_engine.sentinels.cases import answered_right, encode_cases, make_cases
from reference_engine.sentinels.sensitivity import Figure, measure

if TYPE_CHECKING:
    from transformers import Qwen2Tokenizer

REQUIRED_ACCURACY = 0.95


def load(model: str) -> tuple[Architecture, Any, Qwen2Tokenizer]:
    """A sentinel's architecture, transformers' model in float32 and its tokenizer."""
    from transformers import AutoModelForImageTextToText, AutoTokenizer

    path = resolve_model(model)
    architecture = architecture_of(path)
    network = AutoModelForImageTextToText.from_pretrained(path, dtype=torch.float32).eval()
    return architecture, network, AutoTokenizer.from_pretrained(path)


def accuracy_by_kind(model: str, count: int, seed: int) -> list[Figure]:
    """Exact match by kind of question, ``overall`` last."""
    architecture, network, tokenizer = load(model)
    cases = encode_cases(architecture, network, make_cases(architecture, tokenizer, count, seed))
    hits: dict[str, list[bool]] = defaultdict(list)
    for case, right in zip(cases, answered_right(architecture, network, cases), strict=True):
        hits[case.kind].append(right)
    figures = [Figure(kind, float(np.mean(found)), len(found)) for kind, found in sorted(hits.items())]
    overall = float(np.mean([hit for found in hits.values() for hit in found]))
    return [
        *figures,
        Figure("overall", overall, count, f"at least {REQUIRED_ACCURACY:.0%}", overall >= REQUIRED_ACCURACY),
    ]


def sensitivity(model: str, count: int, seed: int) -> list[Figure]:
    architecture, network, tokenizer = load(model)
    return list(measure(architecture, network, make_cases(architecture, tokenizer, count, seed)))


def as_table(title: str, figures: Sequence[Figure]) -> str:
    """Markdown, aligned so that it reads well in a terminal too."""
    width = max(len(title), *(len(f.name) for f in figures))
    lines = [f"| {title:<{width}} | accuracy |     n | required |", f"|:{'-' * width}-|---------:|------:|:---------|"]
    for f in figures:
        required = f"{f.required}{'' if f.met else '  MISSED'}"
        lines.append(f"| {f.name:<{width}} | {f.accuracy:8.1%} | {f.cases:5d} | {required} |")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="assay sentinel", description="The figures of a sentinel on held-out digits.")
    parser.add_argument("table", choices=("accuracy", "sensitivity"))
    parser.add_argument("--model", default="sentinel-qwen2.5-vl", help="a packaged sentinel or a checkpoint directory")
    parser.add_argument("--count", type=int, default=1000, help="questions asked")
    parser.add_argument("--seed", type=int, default=4242)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    args = parser.parse_args(argv)
    if args.count < 2:
        parser.error(f"--count: {args.count} is less than 2")
    try:
        if args.table == "accuracy":
            figures = accuracy_by_kind(args.model, args.count, args.seed)
        else:
            figures = sensitivity(args.model, args.count, args.seed)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    print(as_table("question" if args.table == "accuracy" else "what is wrong", figures))
    if args.json:
        content = {"table": args.table, "seed": args.seed, "figures": [asdict(f) for f in figures]}
        args.json.write_text(json.dumps(content, indent=2) + "\n")
    return 0 if all(f.met for f in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
