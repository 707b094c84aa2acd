"""A checkpoint's tokenizer, read straight from its files: what an engine's token ids are compared with, never the
engine's own.

``Vocabulary(Path("checkpoint")).splits(id)`` lists the ways to spell a token with two others; a prompt written that
way is non-canonical: decoding and tokenizing it again gives other ids.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from harness.errors import UsageError


class Vocabulary:
    def __init__(self, checkpoint: Path) -> None:
        file = checkpoint / "tokenizer.json"
        if not file.is_file():
            raise UsageError(f"model: {checkpoint} has no tokenizer.json, so its token ids cannot be checked")
        self._tokenizer = Tokenizer.from_file(str(file))
        self._config: dict[str, Any] = json.loads((checkpoint / "config.json").read_text())

    def encode(self, text: str) -> list[int]:
        """Ids of ``text``; special tokens written out in it become their own ids."""
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def decode(self, ids: Sequence[int]) -> str:
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=False))

    def decode_plain(self, ids: Sequence[int]) -> str:
        """Text of ``ids`` as a chat answer shows it: special tokens left out."""
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=True))

    def retokenize(self, ids: Sequence[int]) -> list[int]:
        """What an engine that goes through text makes of ``ids``."""
        return self.encode(self.decode(ids))

    def token_text(self, token: int) -> str:
        """A token as a person reads it: spaces and line ends visible, an id outside the vocabulary by number."""
        if self._tokenizer.id_to_token(token) is None:
            return f"#{token}"
        return self.decode([token]).replace(" ", "·").replace("\n", "⏎")

    def special(self, token: str) -> int:
        found = self._tokenizer.token_to_id(token)
        if found is None:
            raise UsageError(f"model: its tokenizer has no {token}; these jobs need a Qwen2-VL style vocabulary")
        return int(found)

    @cached_property
    def placeholder(self) -> int:
        """The id that stands for a picture."""
        named = self._config.get("image_token_id")
        return self.special("<|image_pad|>") if named is None else int(named)

    @cached_property
    def joiner(self) -> tuple[int, ...]:
        """What a model that cuts one picture into several spans puts between them."""
        return self.special("<|vision_end|>"), self.special("<|vision_start|>")

    @cached_property
    def _entries(self) -> dict[str, int]:
        special = {token.content for token in self._tokenizer.get_added_tokens_decoder().values()}
        return {text: id_ for text, id_ in self._tokenizer.get_vocab().items() if text not in special}

    def splits(self, token: int) -> list[tuple[int, int]]:
        """Every pair of other tokens whose joined text tokenizes to exactly ``token``, shortest left part first."""
        spelling = self._tokenizer.id_to_token(token)
        if spelling is None or spelling not in self._entries:
            return []
        entries, cuts = self._entries, range(1, len(spelling))
        pairs = ((entries.get(spelling[:cut]), entries.get(spelling[cut:])) for cut in cuts)
        return [(a, b) for a, b in pairs if a is not None and b is not None and self.retokenize((a, b)) == [token]]
