"""What every check has in hand: asking, comparing with a stated tolerance, and the prediction if a model was named.

How much two answers to the same request may differ depends on the server's arithmetic: log-probabilities whose
differences are whole multiples of 2**-12 come from 16-bit logits, which move by whole steps with the shape of a batch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from harness.observation import Picture
from harness.probe.asking import Ask, Reply, read_chat, read_stream
from harness.probe.line import Answer, Line
from harness.probe.outcomes import Lacking, Unsure, Wrong
from harness.probe.pictures import REPORTED, Pictures, nearly
from harness.probe.speaking import CHAT, Speaks

if TYPE_CHECKING:
    from harness.probe.expecting import Expected

EXACT = 2e-3
"""Nats. Of float32 arithmetic: sums in another order differ far less, another input far more."""
NEAR = 5 * EXACT
"""Nats, between near copies of a picture."""
ROUNDED = 0.5
"""Nats. Of 16-bit logits: their steps are 1/16 to 1/8 at the sizes that real models have."""
STEPS = 1 << 12
QUESTION = "What is in the picture? Answer in a few words."
LAST = "and?"


class Bench:
    def __init__(self, line: Line, speaks: Speaks, expected: Expected | None, seed: int) -> None:
        self.line, self.speaks, self.expected = line, speaks, expected
        self.pictures = Pictures(seed)
        self._known: dict[Ask, Reply] = {}

    def ask(self, ask: Ask, *, again: bool = False) -> Reply:
        """A whole answer. Raises what a refusal, a failure or silence means for a valid request."""
        return self.took(self.attempt(ask, again=again))

    def attempt(self, ask: Ask, *, again: bool = False) -> Reply:
        """Whatever the status. What is known already is not asked for twice unless ``again``."""
        if again or ask not in self._known:
            self._known[ask] = read_chat(self.line.post(CHAT, ask.body(self.speaks.wants)))
        return self._known[ask]

    def stream(self, ask: Ask) -> Reply:
        self.speaks.need("streams")
        return self.took(read_stream(self.line.post(CHAT, ask.body(self.speaks.stream_wants))))

    def together(self, asks: Sequence[Ask]) -> list[Reply]:
        answers = self.line.together([(CHAT, ask.body(self.speaks.wants)) for ask in asks])
        return [self.took(read_chat(answer)) for answer in answers]

    def took(self, reply: Reply) -> Reply:
        if reply.ok:
            return reply
        if 400 <= reply.status < 500:
            raise Lacking(f"refused with {reply.status}: {reply.error}")
        raise Wrong(f"a valid request got {reply.status or 'no answer'}: {reply.error}")

    def ids(self, ids: Sequence[int], pictures: Sequence[Picture] = (), max_tokens: int = 2) -> Reply:
        """A prompt of token ids."""
        self.speaks.need("token ids in")
        way = self.speaks.ids_way
        assert way is not None
        if pictures and not way.pictures:
            raise Lacking(f"the server lacks token ids with images ({way.path} takes text only)")
        return self.took(way.read(self.line.post(way.path, way.body(self.speaks.model, ids, pictures, max_tokens))))

    def encode(self, text: str) -> list[int]:
        """By the model's files, or by the server's own tokenizer; without what is put before every text."""
        if self.expected is not None:
            return self.expected.encode(text)
        self.speaks.need("tokenizing")
        return self._tokenized(text)[len(self._opening) :]

    def decode(self, ids: Sequence[int]) -> str:
        """Special tokens left out."""
        if self.expected is not None:
            return self.expected.decode(ids)
        raise Lacking("no model was named (--model), so ids cannot be read")

    @cached_property
    def _opening(self) -> list[int]:
        one, other = self._tokenized("a"), self._tokenized("7")
        return [x for x, y in zip(one, other, strict=False) if x == y][: max(0, len(one) - 1)]

    def _tokenized(self, text: str) -> list[int]:
        answer = self.line.post("/tokenize", {self.speaks.tokenize_field: text, "model": self.speaks.model})
        if not answer.ok:
            raise Lacking(f"POST /tokenize got {answer.status}: {answer.told}")
        return list(answer.get("tokens") or ())

    def cost(self, *parts: str | Picture) -> int:
        """Prompt tokens of one message of the user."""
        return self.counted(self.ask(Ask.user(*parts, max_tokens=1)))

    def counted(self, reply: Reply) -> int:
        if not reply.prompt_tokens:
            raise Lacking("answers have no usage.prompt_tokens")
        return reply.prompt_tokens

    @cached_property
    def text_ask(self) -> Ask:
        return Ask.user("Say what you can see, in a few words.", max_tokens=8)

    @cached_property
    def picture(self) -> Picture:
        return self.pictures.one((112, 84))

    @cached_property
    def three(self) -> list[Picture]:
        return self.pictures.several((112, 84), 3)

    @cached_property
    def reported(self) -> list[Picture]:
        return [self.pictures.one(size) for size in REPORTED]

    @cached_property
    def image_ask(self) -> Ask:
        self.speaks.need("images")
        return Ask.user(self.picture, QUESTION, max_tokens=8)

    @cached_property
    def tolerance(self) -> float:
        return ROUNDED if self.rounded else EXACT

    @cached_property
    def rounded(self) -> bool:
        """Whether the logits have 16 bits."""
        if "log-probabilities" not in self.speaks.has:
            return False
        tops = self.ask(self.text_ask).first.tops
        steps = [(a - b) * STEPS for top in tops for a, b in pairwise(top.values())]
        return len(steps) > 7 and all(abs(step - round(step)) < 0.05 for step in steps)

    @cached_property
    def hair(self) -> float:
        """Nats that one level of one pixel makes, three times over: what differs less does not differ."""
        if self.rounded or "images" not in self.speaks.has:
            return 1e-6
        near = Ask.user(nearly(self.picture), QUESTION, max_tokens=8)
        return max(1e-6, min(3 * gap(self.ask(self.image_ask), self.ask(near)), self.tolerance / 4))

    @cached_property
    def steady(self) -> bool:
        """Whether the same request, alone, gets the same answer three times."""
        first, *others = [self.ask(self.text_ask, again=True) for _ in range(3)]
        return all(gap(first, other) <= self.tolerance for other in others)

    @cached_property
    def draws_alike(self) -> bool:
        """Whether a seed draws the same answer twice."""
        if "seeds" not in self.speaks.has:
            return False
        ask = Ask.user("Say anything.", max_tokens=12, temperature=1.5, seed=11)
        return self.ask(ask).first.text == self.ask(ask, again=True).first.text

    def same(self, a: Reply, b: Reply, what: str, *, near: bool = False) -> float:
        """The gap. ``what`` is the sentence of a failure; ``near``: of near copies, which one pixel tells apart."""
        found, limit = gap(a, b), NEAR if near and not self.rounded else self.tolerance
        if found <= limit:
            return found
        evidence = {"answers": [a.first.text, b.first.text], "gap": shown(found), "tolerance": limit}
        if not self.steady:
            raise Unsure(f"{what}; but the same request alone does not get the same answer twice either", **evidence)
        raise Wrong(f"{what}: {_difference(a, b, found, limit)}", **evidence)

    def differ(self, a: Reply, b: Reply, what: str) -> float:
        found = gap(a, b)
        if found > self.tolerance:
            return found
        evidence = {"answers": [a.first.text, b.first.text], "gap": shown(found), "tolerance": self.tolerance}
        if "log-probabilities" not in self.speaks.has:
            raise Unsure(f"{what}: the same text ({a.first.text!r}), and there are no log-probabilities", **evidence)
        if found > self.hair:
            raise Unsure(f"{what}: log-probabilities differ by {found:.2g} only, which noise could do", **evidence)
        raise Wrong(f"{what}: no more than one pixel makes, the answers are the same", **evidence)

    def answer(self, path: str, body: Any) -> Answer:
        return self.line.post(path, body)


def gap(a: Reply, b: Reply) -> float:
    """Nats between two answers: the largest difference of log-probabilities up to where their tokens part, there
    included. Infinite where texts differ and nothing can be compared.
    """
    one, other = a.first, b.first
    if not one.tops or not other.tops:
        return 0.0 if (one.text, one.ids) == (other.text, other.ids) else math.inf
    widest = 0.0
    for i, (top, peer) in enumerate(zip(one.tops, other.tops, strict=False)):
        common = [
            abs(top[token] - peer[token]) for token in top.keys() & peer.keys() if _numbers(top[token], peer[token])
        ]
        widest = max([widest, *common]) if common else math.inf
        if one.tokens[i] != other.tokens[i]:
            return widest if one.tokens[i] in peer and other.tokens[i] in top else math.inf
    return widest if len(one.tokens) == len(other.tokens) else math.inf


def _numbers(a: Any, b: Any) -> bool:
    return isinstance(a, float | int) and isinstance(b, float | int)


def shown(value: float) -> str:
    return "no common token" if math.isinf(value) else f"{value:.3g}"


def _difference(a: Reply, b: Reply, found: float, tolerance: float) -> str:
    if a.first.text != b.first.text:
        return f"{a.first.text!r} and {b.first.text!r}"
    return f"the same text, but log-probabilities {shown(found)} apart (tolerance {tolerance:g})"
