"""Answers held to a JSON schema or a regular expression, by llguidance (``pip install 'vlm-assay[grammar]'``).

Which tokens may come next is a function of the grammar and of the tokens that the choice got so far, nothing else: it
holds for every one of ``n`` choices, in any batch, and after preemption. Tokens are spelled as the detokenizer spells
them, so that what the grammar accepts is what the client reads. An end token may come exactly where the answer is
complete. JSON has the spaces that Python's ``json.dumps`` writes and no others: a model that likes spaces would never
end. A grammar is never relaxed: one that cannot be held is refused, one that fails on the way ends its request. Which
of the two is the library's to say: it counts its work in each step, and gives up rather than hold the others up.

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
_NOT_ALLOWED = "doesn't satisfy the grammar"
"""What the library says of a token that the mask before it had barred."""
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
        """Why the grammar cannot go on, if it cannot: it grew too complex (422), or was given a token that it does not
        allow (500, the engine's own fault)."""
        if not self._matcher.is_error():
            return None
        why = _told(self._matcher)
        return RequestError(self._field, f"the grammar failed: {why}", status=500 if _NOT_ALLOWED in why else 422)


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
            kept = self._compiled.get(asked)
        matcher = kept or self._compile(*asked)  # takes seconds of a hard one, for which nobody else waits
        with self._lock:
            self._compiled[asked] = matcher
            self._compiled.move_to_end(asked)
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
        with self._lock:
            if self._tokens is None:
                vocabulary = _Vocabulary(self._codec, self._eos_ids[0])
                self._tokens = library.LLTokenizer(vocabulary, n_vocab=self._codec.vocabulary, eos_token=self._eos_ids)
        matcher = library.LLMatcher(self._tokens, _written(library.LLMatcher, name, source, field), log_level=0)
        if not matcher.is_error():
            matcher.compute_bitmask()  # where nothing can begin, this is where that is found
        if matcher.is_error():
            raise RequestError(field, f"cannot be held: {_told(matcher)}")
        return matcher


def _told(matcher: Any) -> str:
    """What is wrong, without the dump of the parser's state that follows it."""
    said: str = matcher.get_error()
    return " ".join(said.partition("<state>")[0].split())[:300]


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
