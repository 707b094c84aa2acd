"""Tokenizers over a given vocabulary of bytes, of both kinds that engines tell apart. No file is read or written."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any


def letters() -> list[str]:
    """GPT-2's letter for each byte: printable ones stand for themselves."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    return [chr(byte if byte in printable else next(others)) for byte in range(256)]


@lru_cache(maxsize=8)
def fast(vocabulary: tuple[bytes, ...], special: tuple[int, ...]) -> Any:
    """transformers' fast tokenizer. The special ids come last, and are written as their bytes are."""
    from tokenizers import AddedToken, Tokenizer, decoders, models
    from transformers import PreTrainedTokenizerFast

    letter = letters()
    spelled = ["".join(letter[byte] for byte in token) for token in vocabulary[: len(vocabulary) - len(special)]]
    made = Tokenizer(models.BPE({token: i for i, token in enumerate(spelled)}, []))
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens([AddedToken(vocabulary[i].decode(), special=True, normalized=False) for i in special])
    return PreTrainedTokenizerFast(tokenizer_object=made)


class TiktokenLike:
    """A slow tokenizer as Kimi's checkpoint brings one: ``decode`` takes ids and no options."""

    is_fast = False

    def __init__(self, vocabulary: Sequence[bytes], special: Sequence[int]) -> None:
        self._vocabulary = list(vocabulary)
        self.all_special_ids = list(special)

    def __len__(self) -> int:
        return len(self._vocabulary)

    def decode(self, ids: Sequence[int]) -> str:
        return b"".join(self._vocabulary[i] for i in ids).decode("utf-8", errors="replace")
