"""A made-up checkpoint with a slow, tiktoken-like tokenizer of any size, and ids to decode with it: from a seed.

The vocabulary holds every byte, words with and without a space before them, and words that end inside a character.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path

from reference_engine.tiktoken_tokenizer import VOCABULARY, write_ranks

SPECIAL = ["<|end|>", "<|image|>"]
_SCRAPS = ["é", "图", "🙂", " the", " of", "image", "ing"]


def write_checkpoint(path: Path, tokens: int, *, seed: int = 0) -> Path:
    """Tokenizer files of ``tokens`` ordinary and two special ids, which come last."""
    path.mkdir(parents=True, exist_ok=True)
    return write_tokenizer(path, make_tokens(tokens, seed=seed))


def write_tokenizer(path: Path, tokens: Sequence[bytes]) -> Path:
    """The same of these ordinary tokens, every byte among them, into a folder that is there."""
    write_ranks(path / VOCABULARY, tokens)
    added = {str(len(tokens) + i): {"content": token, "special": True} for i, token in enumerate(SPECIAL)}
    settings = {"added_tokens_decoder": added, "eos_token": SPECIAL[0], "additional_special_tokens": SPECIAL}
    (path / "tokenizer_config.json").write_text(json.dumps(settings | {"tokenizer_class": "TiktokenTokenizer"}))
    return path


def make_tokens(count: int, *, seed: int = 0) -> list[bytes]:
    rng = random.Random(seed)
    tokens = dict.fromkeys(bytes([byte]) for byte in range(256))
    while len(tokens) < count:
        letters = bytes(rng.randrange(97, 123) for _ in range(rng.randrange(1, 7)))
        scrap = rng.choice(_SCRAPS).encode()
        tokens[rng.choice([letters, b" " + letters, letters + scrap[: rng.randrange(1, 1 + len(scrap))]])] = None
    return list(tokens)


def make_ids(tokens: int, count: int, *, seed: int = 0) -> list[int]:
    """An answer's ids: any of them, special ones too."""
    rng = random.Random(seed)
    return [rng.randrange(tokens + len(SPECIAL)) for _ in range(count)]
