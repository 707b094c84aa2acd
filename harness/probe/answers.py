"""Checks of what is sent back: streams, counts, choices, seeds, stop strings, log-probabilities, empty fields."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from harness.probe.asking import Ask, Reply
from harness.probe.bench import Bench, gap
from harness.probe.outcomes import Lacking, Unsure, Wrong
from harness.probe.speaking import CHAT, GREEDY_CHOICES

LENGTHS = (1, 2, 7)
SLACK = 1e-3
"""Of a sum of probabilities that are written with some digits."""


def streamed(bench: Bench) -> str:
    """Field by field: text, finish, ids, log-probabilities, usage."""
    bench.speaks.need("streams")
    asks = [bench.text_ask] + ([bench.image_ask] if "images" in bench.speaks.has else [])
    compared: set[str] = set()
    for ask in asks:
        whole, pieces = bench.ask(ask, again=True), bench.stream(ask)
        for name, read in _FIELDS.items():
            a, b = read(whole), read(pieces)
            if not a or not b:
                continue
            compared.add(name)
            if a != b:
                raise Wrong(f"{name}: {str(a)[:120]} whole, {str(b)[:120]} streamed", whole=a, streamed=b)
        bench.same(whole, pieces, "whole and streamed")
    return f"whole and streamed are the same: {', '.join(name for name in _FIELDS if name in compared)}"


_FIELDS: dict[str, Callable[[Reply], Any]] = {
    "text": lambda reply: reply.first.text,
    "finish reason": lambda reply: reply.first.finish,
    "token ids": lambda reply: reply.first.ids,
    "tokens": lambda reply: reply.first.tokens,
    "number of log-probabilities": lambda reply: len(reply.first.logprobs),
    "usage": lambda reply: {
        name: reply.usage.get(name) for name in ("prompt_tokens", "completion_tokens") if reply.usage
    },
}


def text_of_ids(bench: Bench) -> str:
    """Drawn answers, for many kinds of tokens: the text is what the ids say."""
    bench.speaks.need("answer ids")
    asks = [
        Ask.user(
            "Say anything at all.",
            max_tokens=24,
            temperature=1.3,
            **({"seed": seed} if "seeds" in bench.speaks.has else {}),
        )
        for seed in range(4)
    ]
    for told in (bench.ask(ask).first for ask in asks):
        said = bench.decode(told.ids)
        if told.text != said and told.text.strip() != said.strip():
            raise Wrong(f"ids {told.ids} say {said!r}, the text is {told.text!r}", ids=told.ids)
    return f"the texts of {len(asks)} drawn answers are what their ids say"


def exact_length(bench: Bench) -> str:
    """As many tokens as were allowed, neither more nor fewer unless the model ended by itself."""
    ended = 0
    for length in LENGTHS:
        reply = bench.ask(Ask.user("Count from one to one hundred, in words.", max_tokens=length))
        made, finish = reply.usage.get("completion_tokens"), reply.first.finish
        if made is None:
            raise Lacking("answers have no usage.completion_tokens")
        if made > length or (made < length and finish != "stop") or (finish == "length" and made != length):
            raise Wrong(f"max_tokens {length}: {made} tokens, finish reason {finish!r}")
        ended += finish != "length"
    if ended == len(LENGTHS):
        raise Unsure("the model ended every answer by itself")
    return f"max_tokens {', '.join(map(str, LENGTHS))} is held to the token, and says so"


def counted_alike(bench: Bench) -> str:
    """ids == log-probabilities == usage."""
    asks = [bench.text_ask, Ask.user("Only: yes", max_tokens=24, **_may_end(bench))]
    asks += [bench.image_ask] if "images" in bench.speaks.has else []
    seen: set[str] = set()
    for ask in asks:
        reply = bench.ask(ask)
        counts = {
            "usage": reply.usage.get("completion_tokens"),
            "ids": len(reply.first.ids) or None,
            "log-probabilities": len(reply.first.logprobs) or None,
        }
        given = {name: count for name, count in counts.items() if count is not None}
        if len(given) < 2:
            raise Lacking("answers tell neither ids nor log-probabilities, so usage stands alone")
        if len(set(given.values())) > 1:
            raise Wrong(", ".join(f"{count} {name}" for name, count in given.items()), finish=reply.first.finish)
        total = reply.usage.get("total_tokens")
        if total is not None and total != reply.prompt_tokens + reply.usage.get("completion_tokens", 0):
            raise Wrong(f"usage.total_tokens is {total}: {dict(reply.usage)}")
        seen |= given.keys()
    return f"{', '.join(sorted(seen))} agree in {len(asks)} answers"


def _may_end(bench: Bench) -> dict[str, Any]:
    return {"ignore_eos": False} if "ignore_eos" in bench.speaks.has else {}


def several_choices(bench: Bench) -> str:
    """Greedy ones are the one alone; drawn ones, where a server gives no others, at least as many and as long."""
    bench.speaks.need("several choices")
    greedy = bench.speaks.has["several choices"] == GREEDY_CHOICES
    drawn = () if greedy else (("temperature", 1.0),)
    one = bench.ask(replace(bench.text_ask, options=drawn))
    three = bench.ask(replace(bench.text_ask, options=(("n", 3), *drawn)))
    if [told.index for told in three.told] != [0, 1, 2]:
        raise Wrong(f"n = 3 gave choices {[told.index for told in three.told]}")
    for i, told in enumerate(three.told if greedy else ()):
        bench.same(one, replace(three, told=[told]), f"greedy choice {i} of 3 and the one alone")
    made, each = three.usage.get("completion_tokens"), one.usage.get("completion_tokens")
    exact = "ignore_eos" in bench.speaks.has
    if exact and made is not None and each is not None and made != 3 * each:
        raise Wrong(f"usage counts {made} tokens for three choices of {each}")
    if three.prompt_tokens != one.prompt_tokens:
        raise Wrong(f"{three.prompt_tokens} prompt tokens for three choices, {one.prompt_tokens} for one")
    kind = "greedy choices are the one alone, counted three times" if greedy else "drawn choices, counted as made"
    return f"three {kind}, the prompt once"


def seeds(bench: Bench) -> str:
    bench.speaks.need("seeds")

    def drawn(seed: int, **more: Any) -> Reply:
        return bench.ask(
            Ask.user("Say anything at all.", max_tokens=12, temperature=1.5, seed=seed, **more), again=True
        )

    first, again, other = drawn(7), drawn(7), drawn(8)
    if first.first.text != again.first.text:
        raise Wrong(f"seed 7 twice: {first.first.text!r} and {again.first.text!r}")
    if first.first.text == other.first.text:
        raise Unsure(f"seeds 7 and 8 draw the same: {first.first.text!r}")
    if "several choices" in bench.speaks.has:
        many = drawn(7, n=3)
        if len({told.text for told in many.told}) == 1:
            raise Unsure("three choices drawn with one seed are one and the same")
    return "a seed draws the same answer twice, another seed another one"


def stops(bench: Bench) -> str:
    """The answer ends before the stop string, streamed too: not a letter of it, and all before it."""
    bench.speaks.need("stop strings")
    text = bench.ask(replace(bench.text_ask, max_tokens=16)).first.text
    stop = _inside(text)
    ask = replace(bench.text_ask, max_tokens=16, options=(("stop", (stop,)),))
    wanted = text[: text.index(stop)]
    replies = {"whole": bench.ask(ask)} | ({"streamed": bench.stream(ask)} if "streams" in bench.speaks.has else {})
    for how, reply in replies.items():
        if reply.first.text != wanted:
            raise Wrong(f"{how}: {reply.first.text!r}, not {wanted!r} before stop {stop!r} of {text!r}")
        if reply.first.finish != "stop":
            raise Wrong(f"{how}: ended by {stop!r}, but the finish reason is {reply.first.finish!r}")
    return f"stop {stop!r} ends the answer just before it, {' and '.join(replies)}"


def _inside(text: str) -> str:
    """Three characters from its middle, which are seldom one token and begin a little after the first."""
    middle = len(text) // 2
    stop = text[middle : middle + 3]
    if len(stop.strip()) < 2 or "\ufffd" in stop:
        raise Unsure(f"the answer {text!r} has no part to stop at")
    return stop


def normalised(bench: Bench) -> str:
    """Probabilities: none above one, no sum above one, the greedy token the likeliest, all of them numbers."""
    bench.speaks.need("log-probabilities")
    asks = [bench.text_ask] + ([bench.image_ask] if "images" in bench.speaks.has else [])
    places, largest = 0, 0.0
    for told in (bench.ask(ask).first for ask in asks):
        for i, (token, logprob, tops) in enumerate(zip(told.tokens, told.logprobs, told.tops, strict=True)):
            values = [logprob, *tops.values()]
            if any(value is None or math.isnan(value) for value in values):
                raise Wrong(f"place {i}: a log-probability that is no number ({tops})")
            total = sum(math.exp(value) for value in tops.values())
            if max(values) > SLACK or total > 1 + SLACK:
                raise Wrong(f"place {i}: probabilities of {len(tops)} tokens add up to {total:.4f}", tops=tops)
            if logprob < max(tops.values()) - bench.tolerance:
                raise Wrong(
                    f"place {i}: greedy took {token!r} at {logprob:.3f}, {max(tops.values()):.3f} was there", tops=tops
                )
            places, largest = places + 1, max(largest, total)
    return f"{places} places: sums of at most {largest:.3f}, the greedy token the likeliest"


def no_empty_fields(bench: Bench) -> str:
    """Nothing that was asked for is null; a log-probability that is not known is not zero either."""
    answer = bench.answer(CHAT, bench.text_ask.body(bench.speaks.wants))
    choice = (answer.get("choices") or [{}])[0]
    meta = choice.get("meta_info") or {}
    asked = {
        "choices[0].message.content": (choice.get("message") or {}).get("content"),
        "choices[0].finish_reason": choice.get("finish_reason"),
        **({"usage": answer.get("usage")} if "usage" in (answer.body or {}) else {}),
        **{f"usage.{name}": value for name, value in (answer.get("usage") or {}).items() if name.endswith("_tokens")},
        **({"choices[0].logprobs": choice.get("logprobs")} if "log-probabilities" in bench.speaks.has else {}),
        **{f"meta_info.{name}": value for name, value in meta.items()},
    }
    if empty := [name for name, value in asked.items() if value is None]:
        raise Wrong(f"null though it was asked for: {', '.join(empty)}")
    others = [f"choices[0].{name}" for name, value in choice.items() if value is None and name != "logprobs"]
    others += [name for name, value in (answer.body or {}).items() if value is None]
    return "nothing that was asked for is null" + (
        f"; null without being asked for: {', '.join(others)}" if others else ""
    )


def repeated(bench: Bench) -> str:
    """The noise of this server, which every comparison has to allow for."""
    first, *others = [bench.ask(bench.text_ask, again=True) for _ in range(3)]
    widest = max(gap(first, other) for other in others)
    if widest > bench.tolerance:
        raise Wrong(f"the same text alone three times: {first.first.text!r}, {[other.first.text for other in others]}")
    kind = "16-bit logits" if bench.rounded else "float32 logits"
    known = kind if "log-probabilities" in bench.speaks.has else "text only"
    return f"the same text three times, {widest:.2g} apart ({known}: tolerance {bench.tolerance:g} nats)"
