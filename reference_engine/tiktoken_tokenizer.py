"""A slow tokenizer of tiktoken's kind (Kimi, Qwen 1): ranks in ``tiktoken.model``, special ids in the configuration.

transformers calls it slow because it is written in Python; the work is done by the ``tiktoken`` package, which the
extra ``tiktoken`` installs. ``decode`` without options goes there at once. With any option it goes transformers' way,
token by token through Python, tens of times as slow (sglang#25309). No code from the checkpoint is run.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from shutil import copyfile
from typing import Any

from reference_engine.errors import ConfigError
from reference_engine.hf import transformers
from reference_engine.spelling import byte_level, byte_of

VOCABULARY = "tiktoken.model"
PATTERN = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s+(?!\S)|\s+"
"""How text is cut before merging, unless ``tokenizer_config.json`` says otherwise in ``pat_str``."""


def read_ranks(path: Path) -> dict[bytes, int]:
    """Lines of ``base64(token) rank``. :class:`ConfigError` naming the first line that is not one."""
    ranks: dict[bytes, int] = {}
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        try:
            token, rank = line.split()
            ranks[base64.b64decode(token, validate=True)] = int(rank)
        except ValueError as error:
            raise ConfigError(f"model: {path.name}, line {number} is not 'base64 rank' ({error})") from None
    return ranks


def write_ranks(path: Path, tokens: Sequence[bytes]) -> None:
    lines = (base64.b64encode(token) + b" %d\n" % rank for rank, token in enumerate(tokens))
    path.write_bytes(b"".join(lines))


class TiktokenTokenizer(transformers.PreTrainedTokenizer):
    """``is_fast`` is False. Special ids are those of ``added_tokens_decoder``, past the ranks."""

    vocab_files_names = {"vocab_file": VOCABULARY}  # noqa: RUF012  as transformers declares it
    model_input_names = ["input_ids", "attention_mask"]  # noqa: RUF012

    def __init__(self, vocab_file: str, pat_str: str = PATTERN, **options: Any) -> None:
        try:
            import tiktoken
        except ImportError:
            raise ConfigError(
                f"model: {VOCABULARY} needs the tiktoken package; install the extra 'tiktoken' of vlm-assay"
            ) from None
        self.vocab_file = vocab_file
        ranks = read_ranks(Path(vocab_file))
        self._character_of = {byte: character for character, byte in byte_of().items()}
        self._tokens = {rank: self._written(token) for token, rank in ranks.items()}
        self._ranks = {token: rank for rank, token in self._tokens.items()}
        added = options.get("added_tokens_decoder", {})
        special = {str(token): int(i) for i, token in added.items()}
        self.native = tiktoken.Encoding(VOCABULARY, pat_str=pat_str, mergeable_ranks=ranks, special_tokens=special)
        super().__init__(pat_str=pat_str, **options)

    def _written(self, token: bytes) -> str:
        return "".join(self._character_of[byte] for byte in token)

    # -- what transformers asks of a slow tokenizer

    @property
    def vocab_size(self) -> int:
        return len(self._ranks)

    def get_vocab(self) -> dict[str, int]:
        return self._ranks | self.added_tokens_encoder

    def _tokenize(self, text: str, **options: Any) -> list[str]:
        return [self._tokens[i] for i in self.encode_plain(text)]

    def _convert_token_to_id(self, token: str) -> int | None:
        return self._ranks.get(token)

    def _convert_id_to_token(self, index: int) -> str:
        return self._tokens.get(index, "")

    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        return b"".join(map(byte_level, tokens)).decode("utf-8", errors="replace")

    def save_vocabulary(self, save_directory: str, filename_prefix: str | None = None) -> tuple[str, ...]:
        target = Path(save_directory) / f"{filename_prefix + '-' if filename_prefix else ''}{VOCABULARY}"
        if target.resolve() != Path(self.vocab_file).resolve():
            copyfile(self.vocab_file, target)
        return (str(target),)

    # -- native

    def decode(self, token_ids: Any, *arguments: Any, **options: Any) -> Any:
        """One sequence of ids that the vocabulary holds, without options: tiktoken's own decoder."""
        if arguments or options:
            return super().decode(token_ids, *arguments, **options)
        return self.native.decode(token_ids)

    def encode_plain(self, text: str) -> list[int]:
        """Special tokens in the text are the characters they are written with."""
        return self.native.encode_ordinary(text)

    def token_bytes(self, token: int) -> bytes:
        """Of any id; none for one that is not in the vocabulary."""
        try:
            return self.native.decode_single_token_bytes(token)
        except KeyError:
            return b""
