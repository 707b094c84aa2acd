"""Answers held to a JSON schema or a regular expression, by llguidance (``pip install 'vlm-assay[grammar]'``).

Which tokens may come next is a function of the grammar and of the tokens that the choice got so far, nothing else: it
holds for every one of ``n`` choices, in any batch, and after preemption. Tokens are spelled as the detokenizer spells
them, so that what the grammar accepts is what the client reads. An end token may come exactly where the answer is
complete. JSON has the spaces that Python's ``json.dumps`` writes and no others: a model that likes spaces would never
end. A grammar is never relaxed: one that cannot be held is refused, one that fails on the way ends its request.

Shapes: V vocabulary.
"""

from __future__ import annotations

import importlib
import json
import threading
from collections import OrderedDict
from collections.abc import Collection
from typing import Any

import numpy as np
import torch
from torch import Tensor

from reference_engine.errors import RequestError
from reference_engine.sampling_params import SamplingParams, grammar_of
from reference_engine.tokenizer import Codec, without_tokenizer

KEPT = 64
"""Compiled grammars that are remembered."""
SPACES = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}


class Grammar:
    """One choice's place in its grammar."""

    def __init__(self, matcher: Any, vocabulary: int, field: str) -> None:
        self._matcher, self._vocabulary, self._field = matcher, vocabulary, field

    def advance(self, token: int) -> None:
        """The choice got this token."""
        self._matcher.consume_token(token)

    def allowed_V(self) -> Tensor:
        """bool [V] on the CPU: what may come next. Never all false."""
        bits = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        return torch.from_numpy(np.unpackbits(bits, count=self._vocabulary, bitorder="little")).bool()

    @property
    def failure(self) -> RequestError | None:
        """Why the grammar cannot go on, if it cannot: it grew too complex, or was given a token it does not allow."""
        if not self._matcher.is_error():
            return None
        return RequestError(self._field, f"the grammar failed: {self._matcher.get_error()[:200]}", status=500)


class Grammars:
    """The grammars of one engine. Safe to call from several threads."""

    def __init__(self, codec: Codec, eos_ids: Collection[int]) -> None:
        self._codec, self._eos_ids = codec, sorted(eos_ids)
        self._tokens: Any = None
        self._compiled: OrderedDict[tuple[str, str], Any] = OrderedDict()
        self._lock = threading.Lock()

    def start(self, params: SamplingParams) -> Grammar | None:
        """A new choice's grammar; None if it asks for none. Raises :class:`RequestError` where it cannot be held."""
        asked = grammar_of(params)
        if asked is None:
            return None
        with self._lock:
            matcher = self._compiled.pop(asked, None) or self._compile(*asked)
            self._compiled[asked] = matcher
            if len(self._compiled) > KEPT:
                self._compiled.popitem(last=False)
            return Grammar(matcher.deep_copy(), self._codec.vocabulary, f"sampling_params.{asked[0]}")

    def _compile(self, name: str, source: str) -> Any:
        field = f"sampling_params.{name}"
        library = _library(field)
        if self._codec.spellings is None:
            raise without_tokenizer(field, "leave it out")
        if not self._eos_ids:
            raise RequestError(field, "cannot be held: this checkpoint has no end token", status=422)
        if self._tokens is None:
            vocabulary = _Vocabulary(self._codec, self._eos_ids[0])
            self._tokens = library.LLTokenizer(vocabulary, n_vocab=self._codec.vocabulary, eos_token=self._eos_ids)
        grammar = _written(library.LLMatcher, name, source, field)
        wrong, messages = library.LLMatcher.validate_grammar_with_warnings(grammar, self._tokens)
        if wrong:
            raise RequestError(field, f"cannot be held: {' '.join(messages[0].split())[:300]}")
        return library.LLMatcher(self._tokens, grammar, log_level=0)


def _library(field: str) -> Any:
    try:
        return importlib.import_module("llguidance")
    except ImportError:
        message = "needs llguidance, which is not installed here: pip install 'vlm-assay[grammar]'"
        raise RequestError(field, message, status=422) from None


def _written(matcher: Any, name: str, source: str, field: str) -> str:
    """In the library's own form."""
    if name == "regex":
        return matcher.grammar_from_regex(source)
    try:
        schema = json.loads(source)
    except (ValueError, RecursionError):
        schema = None
    if not isinstance(schema, dict):
        raise RequestError(field, "is not the text of a JSON object")
    return matcher.grammar_from_json_schema(source, overrides=SPACES)


class _Vocabulary:
    """What the library asks of a tokenizer."""

    is_tokenizer_wrapper = True
    bos_token_id = None

    def __init__(self, codec: Codec, eos_id: int) -> None:
        assert codec.spellings is not None
        self._encode = codec.encode_plain
        self.eos_token_id = eos_id
        self.tokens = [s if isinstance(s, bytes) else s.encode() for s in codec.spellings.of]
        self.special_token_ids = sorted(codec.spellings.special)

    def __call__(self, text: str | bytes) -> list[int]:
        return self._encode(text if isinstance(text, str) else text.decode("utf-8", "replace"))
