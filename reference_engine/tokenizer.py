"""Text to ids and back, for every kind of tokenizer: fast, slow, or none at all (``skip_tokenizer_init``).

Special tokens are written out when text becomes ids and when a prompt becomes text again; they are left out of answers.
A slow tokenizer's text comes from its own decoder after special ids are filtered (``native_decode``, sglang#25309), or
with the toggle off through transformers' options. Both give the same text.

An engine without a tokenizer runs on ids alone: what needs text is refused with the name of the field.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from tokenizers import Tokenizer

from reference_engine.config import EngineConfig
from reference_engine.detokenizer import Detokenizer, NoText, SpelledText, Spellings, WindowedText
from reference_engine.errors import ConfigError, RequestError
from reference_engine.hf import transformers
from reference_engine.spelling import spell
from reference_engine.tiktoken_tokenizer import VOCABULARY, TiktokenTokenizer

CHARACTERS_A_TOKEN = 64
"""A text with more of them for each token that a prompt may have is refused before it is tokenized: far more than texts
have, and what takes a second or so to tokenize at the default length."""
MakesDetokenizer = Callable[[Spellings], Detokenizer]
LEFT_OUT: Mapping[str, bool] = {"skip_special_tokens": True, "clean_up_tokenization_spaces": False}
WRITTEN: Mapping[str, bool] = {"skip_special_tokens": False, "clean_up_tokenization_spaces": False}


class Codec(Protocol):
    """What the engine asks of a tokenizer. ``vocabulary`` is the model's: ids below it may be run."""

    vocabulary: int
    special: Mapping[str, int]
    """Special tokens as written, and their ids."""

    @property
    def spellings(self) -> Spellings | None:
        """What every id adds to an answer's text; None without a tokenizer."""

    @property
    def tokenizer(self) -> Any:
        """transformers' object, None without a tokenizer."""

    def encode(self, text: str, *, field: str = "text") -> list[int]:
        """Special tokens in the text become their ids; none is added."""

    def encode_plain(self, text: str) -> list[int]:
        """Special tokens in the text are the characters they are written with."""

    def decode(self, ids: Sequence[int]) -> str:
        """Special tokens written out, for a prompt that is to be tokenized again."""

    def text(self, ids: Sequence[int]) -> str:
        """Special tokens left out: an answer, whole."""

    def detokenizer(self) -> Detokenizer:
        """The same, id by id, for one answer."""

    def written(self) -> Detokenizer:
        """:meth:`decode`, id by id, for one prompt."""

    def name(self, token: int) -> str:
        """One token as lists of log-probabilities call it."""

    def check_length(self, characters: int, field: str) -> None:
        """Raises :class:`RequestError` (413) for a text so long that tokenizing it is not worth the time."""

    def check_stops(self, stops: Sequence[str]) -> None:
        """Raises :class:`RequestError` where stop strings cannot be looked for."""

    def native_decode(self) -> tuple[bool, str]:
        """Whether the toggle makes a difference to how text is made, and why."""


class TextCodec:
    """transformers' tokenizer, fast or slow. Safe to call from several threads once made."""

    def __init__(
        self,
        tokenizer: Any,
        vocabulary: int,
        *,
        native_decode: bool = True,
        detokenizer: MakesDetokenizer = SpelledText,
        longest: int = 4096 * CHARACTERS_A_TOKEN,
    ) -> None:
        self.tokenizer = tokenizer
        self.vocabulary = vocabulary
        self._longest = longest
        self.special: Mapping[str, int] = {
            token.content: i for i, token in tokenizer.added_tokens_decoder.items() if token.special
        }
        self.spellings: Spellings = spell(tokenizer)
        self._slow_path = not tokenizer.is_fast and not native_decode
        self._spelled = detokenizer
        self.encode_plain: Callable[[str], list[int]] = _plain_encoder(tokenizer)

    def encode(self, text: str, *, field: str = "text") -> list[int]:
        self.check_length(len(text), field)
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    def decode(self, ids: Sequence[int]) -> str:
        if self.tokenizer.is_fast or self._slow_path:
            return self.tokenizer.decode(list(ids), **WRITTEN)
        return self._native(ids)

    def text(self, ids: Sequence[int]) -> str:
        if self.tokenizer.is_fast or self._slow_path:
            return self.tokenizer.decode(list(ids), **LEFT_OUT)
        special = self.spellings.special
        return self._native(ids if special.isdisjoint(ids) else [i for i in ids if i not in special])

    def _native(self, ids: Sequence[int]) -> str:
        """The slow tokenizer's own decoder. Ids that its vocabulary lacks, which it refuses, have no text."""
        try:
            return self.tokenizer.decode(list(ids))
        except KeyError:
            spelled = self.spellings.of
            return self.tokenizer.decode([i for i in ids if i < len(spelled) and spelled[i]])

    def detokenizer(self) -> Detokenizer:
        return WindowedText(self.spellings, self.text) if self._slow_path else self._spelled(self.spellings)

    def written(self) -> Detokenizer:
        return SpelledText(replace(self.spellings, special=frozenset()))

    def name(self, token: int) -> str:
        return self.decode([token])

    def check_length(self, characters: int, field: str) -> None:
        if characters > self._longest:
            raise RequestError(field, f"{characters} characters; at most {self._longest}", status=413)

    def check_stops(self, stops: Sequence[str]) -> None:
        """They can be."""

    def native_decode(self) -> tuple[bool, str]:
        name = type(self.tokenizer).__name__
        if self.tokenizer.is_fast:
            return False, f"{name} is a fast tokenizer: its decoder takes no slow path"
        if self._slow_path:
            return True, f"{name} is slow: text went through transformers' options, token by token"
        return True, f"{name} is slow: special ids were filtered and its own decoder asked, with no options"


class IdsOnly:
    """No tokenizer: ids in, ids out. Whatever is text is refused (400) with the field that asked for it."""

    tokenizer = None
    special: Mapping[str, int] = {}
    spellings = None

    def __init__(self, vocabulary: int) -> None:
        self.vocabulary = vocabulary

    def encode(self, text: str, *, field: str = "text") -> list[int]:
        raise without_tokenizer(field, "send input_ids")

    def encode_plain(self, text: str) -> list[int]:
        raise without_tokenizer("text", "send input_ids")

    def decode(self, ids: Sequence[int]) -> str:
        raise without_tokenizer("input_ids", "the prompt cannot go through text; set avoid_retokenize on")

    def text(self, ids: Sequence[int]) -> str:
        return ""

    def detokenizer(self) -> Detokenizer:
        return NoText()

    def written(self) -> Detokenizer:
        return NoText()

    def name(self, token: int) -> str:
        return f"token_id:{token}"

    def check_length(self, characters: int, field: str) -> None:
        """No text is tokenized."""

    def check_stops(self, stops: Sequence[str]) -> None:
        if stops:
            raise without_tokenizer("sampling_params.stop", "send stop_token_ids")

    def native_decode(self) -> tuple[bool, str]:
        return False, "no tokenizer is loaded (skip_tokenizer_init)"


def without_tokenizer(field: str, instead: str) -> RequestError:
    return RequestError(field, f"needs a tokenizer, and this engine runs without one (skip_tokenizer_init); {instead}")


def load_codec(path: Path, vocabulary: int, config: EngineConfig, detokenizer: MakesDetokenizer = SpelledText) -> Codec:
    """The codec that the configuration asks for. Raises :class:`ConfigError` where the tokenizer cannot be loaded."""
    if config.skip_tokenizer_init:
        return IdsOnly(vocabulary)
    try:
        tokenizer = load_tokenizer(path)
    except (OSError, ValueError, KeyError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"model: the tokenizer of {path} cannot be loaded: {error}") from error
    longest = config.max_prompt_tokens * CHARACTERS_A_TOKEN
    native = config.native_decode
    return TextCodec(tokenizer, vocabulary, native_decode=native, detokenizer=detokenizer, longest=longest)


def load_tokenizer(path: Path) -> Any:
    """transformers' tokenizer object of a checkpoint; ``tiktoken.model`` without ``tokenizer.json`` is a slow one."""
    if (path / VOCABULARY).is_file() and not (path / "tokenizer.json").is_file():
        return TiktokenTokenizer.from_pretrained(path, local_files_only=True)
    return transformers.AutoTokenizer.from_pretrained(path, local_files_only=True)


def _plain_encoder(tokenizer: Any) -> Callable[[str], list[int]]:
    if not tokenizer.is_fast:
        return tokenizer.encode_plain
    plain = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    plain.encode_special_tokens = True
    plain.no_truncation()
    plain.no_padding()
    return lambda text: plain.encode(text, add_special_tokens=False).ids
