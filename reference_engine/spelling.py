"""The spelling of every id of a tokenizer, read off its decoder: what :mod:`reference_engine.detokenizer` joins.

Three kinds are known. *Byte-level* (GPT-2, Qwen, Llama 3): every id is bytes, written in an alphabet of 256 printable
characters. *SentencePiece-like* (Llama 2, Gemma, Mistral): an id is text with ``▁`` for a space, or one byte,
``<0xE4>``. *Native*: the tokenizer tells bytes itself (tiktoken). A decoder that does anything else is refused by name,
never approximated: :class:`ConfigError`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from reference_engine.detokenizer import Spellings
from reference_engine.errors import ConfigError

_FALLBACK = re.compile(r"<0x([0-9A-Fa-f]{2})>")


def spell(tokenizer: Any) -> Spellings:
    """Spellings of transformers' tokenizer object, fast or with ``token_bytes`` of its own."""
    special = frozenset(i for i, token in tokenizer.added_tokens_decoder.items() if token.special)
    if not tokenizer.is_fast:
        if not hasattr(tokenizer, "token_bytes"):
            raise ConfigError(f"model: the slow tokenizer {type(tokenizer).__name__} does not tell its ids' bytes")
        left_out = frozenset(tokenizer.all_special_ids)  # what a slow tokenizer takes skip_special_tokens to mean
        return Spellings([tokenizer.token_bytes(i) for i in range(len(tokenizer))], left_out)
    found: list[str | None] = tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
    special |= {i for i, token in enumerate(found) if token is None}  # a hole adds nothing, and parts no bytes
    tokens = [token or "" for token in found]
    decoder = json.loads(tokenizer.backend_tokenizer.to_str())["decoder"]
    steps = _steps(decoder)
    if [step["type"] for step in steps] == ["ByteLevel"]:
        return Spellings([byte_level(token) for token in tokens], special)
    return _sentence_pieces(tokens, steps, special)


@cache
def byte_of() -> Mapping[str, int]:
    """The byte that each character of a byte-level vocabulary stands for (GPT-2's alphabet).

    Printable bytes stand for themselves; the others are numbered from 256 on.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(b): b for b in printable} | {chr(256 + i): b for i, b in enumerate(others)}


def byte_level(token: str) -> bytes:
    """An added token that is not in the alphabet stands for its own text."""
    alphabet = byte_of()
    if all(character in alphabet for character in token):
        return bytes(alphabet[character] for character in token)
    return token.encode()


def _steps(decoder: Mapping[str, Any] | None) -> list[Mapping[str, Any]]:
    """The decoder's steps, sequences within sequences laid flat."""
    if decoder is None:
        raise ConfigError("model: the tokenizer has no decoder, so its ids cannot be turned into text")
    if decoder["type"] == "Sequence":
        return [step for part in decoder["decoders"] for step in _steps(part)]
    return [decoder]


@dataclass(frozen=True)
class _Reading:
    """How one piece is read, as the steps so far say."""

    read: Callable[[str], str]
    opens: Callable[[str], str] | None = None
    fallback: bool = False
    fused: bool = False
    spaces_dropped: int = 0


def _sentence_pieces(tokens: Sequence[str], steps: Sequence[Mapping[str, Any]], special: frozenset[int]) -> Spellings:
    reading = _Reading(lambda piece: piece)
    for step in steps:
        reading = _then(reading, step)
    of = [_piece(token, reading.read, reading.fallback) for token in tokens]
    opening = None
    if reading.opens is not None:
        opening = [_piece(token, reading.opens, reading.fallback) for token in tokens]
    return Spellings(of, special, whole_runs=True, spaces_dropped=reading.spaces_dropped, opening=opening)


def _piece(token: str, read: Callable[[str], str], fallback: bool) -> str | bytes:
    found = _FALLBACK.fullmatch(token) if fallback else None
    return bytes([int(found[1], 16)]) if found else read(token)


def _then(reading: _Reading, step: Mapping[str, Any]) -> _Reading:
    kind, before = step["type"], reading.read
    if kind == "Replace" and len(step["pattern"].get("String", "")) == 1:
        old, new = step["pattern"]["String"], step["content"]
        return replace(reading, read=lambda piece: before(piece).replace(old, new))
    if kind == "ByteFallback":
        return replace(reading, fallback=True)
    if kind == "Fuse":
        return replace(reading, fused=True)
    if kind == "Strip" and step["content"] == " " and step["stop"] == 0 and reading.fused:
        return replace(reading, spaces_dropped=step["start"])
    if kind == "Metaspace" and reading.opens is None and not reading.fused:
        mark = step["replacement"]
        opens = None if step["prepend_scheme"] == "never" else lambda piece: before(piece).replace(mark, "")
        return replace(reading, read=lambda piece: before(piece).replace(mark, " "), opens=opens)
    raise ConfigError(f"model: the tokenizer's decoder has a step that is not known here: {json.dumps(step)[:200]}")
