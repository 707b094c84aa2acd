"""Invariant 9 at the door: what a body asks for is what the engine is asked for, and an answer tells what was asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from harness.implementations.base import Answered, ReadRequest, Refusal, WriteAnswer

PROMPTS: dict[str, dict[str, Any]] = {
    "chat": {"model": "m", "messages": [{"role": "user", "content": "hi"}]},
    "completion": {"model": "m", "prompt": "hi"},
    "responses": {"model": "m", "input": "hi"},
}
tenths = st.integers(1, 10).map(lambda k: k / 10)
SENT: dict[str, st.SearchStrategy[Any]] = {
    "temperature": tenths, "top_p": tenths, "min_p": tenths, "top_k": st.integers(1, 50),
    "repetition_penalty": st.sampled_from([0.5, 1.0, 1.25, 2.0]),
    "presence_penalty": st.sampled_from([-2.0, -0.5, 0.0, 0.5, 2.0]),
    "frequency_penalty": st.sampled_from([-2.0, -0.5, 0.0, 0.5, 2.0]),
    "n": st.integers(1, 4), "seed": st.integers(0, 2**31 - 1), "min_tokens": st.integers(0, 1),
    "stop": st.lists(st.sampled_from(["a", "bc", "\n", "é"]), max_size=2, unique=True),
    "stop_token_ids": st.lists(st.integers(0, 99), max_size=3, unique=True),
    "logit_bias": st.dictionaries(st.integers(0, 99).map(str), st.sampled_from([-100.0, -1.5, 0.0, 5.0]), max_size=3),
    "ignore_eos": st.booleans(), "skip_special_tokens": st.booleans(),
}  # fmt: skip
LIMITS = {
    "chat": ("max_tokens", "max_completion_tokens"),
    "completion": ("max_tokens",),
    "responses": ("max_output_tokens",),
}
ZEROS = {"seed": 0, "min_p": 0.0, "min_tokens": 0, "presence_penalty": 0.0, "stop": [], "stop_token_ids": []}


@st.composite
def asked(draw: st.DrawFn) -> dict[str, Any]:
    """Any of the fields that all ways share, and a limit for the answer."""
    names = draw(st.sets(st.sampled_from(sorted(SENT)), max_size=6))
    return {name: draw(SENT[name]) for name in sorted(names)} | {"limit": draw(st.integers(1, 64))}


def sendable(read_request: ReadRequest, way: str, fields: Mapping[str, Any], which: int) -> dict[str, Any]:
    """As a client of this way spells it, of the fields that can be sent at all."""
    known = read_request(way, PROMPTS[way], False)
    limit = {LIMITS[way][which % len(LIMITS[way])]: fields["limit"]} if "limit" in fields else {}
    return PROMPTS[way] | {name: value for name, value in fields.items() if name in known} | limit


def same(sent: Any, got: Any) -> bool:
    """Lists, tuples and sets are told apart by nobody, and none is as good as an empty one. Zero is a number."""
    if isinstance(sent, Mapping):
        return {str(key): float(item) for key, item in (got or {}).items()} == sent
    if isinstance(sent, list):
        return sorted(got or ()) == sorted(sent)
    return type(got) is type(sent) and got == sent


@example(fields={"seed": 0, "limit": 1}, which=0)
@example(fields={"limit": 1}, which=1)
@example(fields=ZEROS, which=0)
@example(fields={"stop": ["a", "bc"], "logit_bias": {"5": -100.0}, "skip_special_tokens": False}, which=0)
@given(fields=asked(), which=st.integers(0, 1))
def test_every_field_reaches_the_engine(
    read_request: ReadRequest, way: str, fields: dict[str, Any], which: int
) -> None:
    body = sendable(read_request, way, fields, which)
    got = read_request(way, body, False)
    lost = {name: (body[name], got[name]) for name in body.keys() & got.keys() if not same(body[name], got[name])}
    assert not lost


@example(fields=ZEROS, which=0)
@given(fields=asked(), which=st.integers(0, 1))
def test_a_body_that_is_written_out_and_read_again_asks_the_same(
    read_request: ReadRequest, way: str, fields: dict[str, Any], which: int
) -> None:
    """Routers and gateways do that."""
    body = sendable(read_request, way, fields, which)
    assert read_request(way, body, True) == read_request(way, body, False)


@pytest.mark.parametrize("name", [*sorted(SENT), "max_tokens", "max_completion_tokens", "max_output_tokens"])
def test_null_is_as_good_as_nothing_or_refused(read_request: ReadRequest, way: str, name: str) -> None:
    """Clients that fill in every field send null for those that nobody gave."""
    without = read_request(way, PROMPTS[way], False)
    try:
        got = read_request(way, PROMPTS[way] | {name: None}, False)
    except Refusal:
        return
    assert got == without


texts = st.text(max_size=8)
some_ids = st.none() | st.lists(st.integers(0, 200_000), min_size=1, max_size=6, unique=True)


@example(answer=Answered("a", "stop"))
@example(answer=Answered("", "length", [5], [7, 7, 9]))
@given(answer=st.builds(Answered, texts, st.sampled_from(["stop", "length"]), some_ids, some_ids))
def test_an_answer_tells_what_was_asked_and_no_more(write_answer: WriteAnswer, way: str, answer: Answered) -> None:
    """sglang#23751: token in, token out; fields that nobody asked for are not there as null."""
    body = write_answer(way, answer)
    [choice] = body["choices"]
    assert (choice["message"]["content"] if way == "chat" else choice["text"]) == answer.text
    assert choice["finish_reason"] == answer.finish_reason
    told = [found for found in ids_in(body) if found is None or found]
    assert sorted(map(str, told)) == sorted(str(given) for given in (answer.output_ids, answer.prompt_ids) if given)


def ids_in(value: Any) -> list[Any]:
    """Whatever stands under a name that ends in ``ids``, at any depth."""
    if isinstance(value, list):
        return [found for item in value for found in ids_in(item)]
    if not isinstance(value, Mapping):
        return []
    mine = [item for name, item in value.items() if name.endswith("ids")]
    return mine + [found for item in value.values() for found in ids_in(item)]
