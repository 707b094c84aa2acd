"""Every declared field survives every way in: single, in a batch, with several choices, on both endpoints (invariant
9; sglang#27216: a sub-request rebuilt from a list of known fields lost the others).
"""

from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reference_engine import Request, RequestError, SamplingParams
from reference_engine.server.chat import ChatPrompts
from reference_engine.server.completions import read_completions
from reference_engine.server.native import read_generate
from reference_engine.server.openai import read_chat
from reference_engine.server.protocol import OPENAI_NAMES, SAMPLING_FIELDS

SETTINGS = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
penalty = st.floats(-2, 2)
ids = st.integers(0, 299)
SAMPLING: dict[str, st.SearchStrategy[Any]] = {
    "max_new_tokens": st.integers(9, 99), "min_new_tokens": st.integers(0, 9), "temperature": st.floats(0, 9),
    "top_p": st.floats(0.1, 1), "top_k": st.integers(1, 99), "min_p": st.floats(0, 1),
    "repetition_penalty": st.floats(0.1, 9), "presence_penalty": penalty, "frequency_penalty": penalty,
    "logit_bias": st.dictionaries(ids, st.floats(-100, 100), max_size=3), "seed": st.integers(0, 2**63 - 1),
    "n": st.integers(1, 3), "stop": st.lists(st.text(min_size=1, max_size=3), max_size=3).map(tuple),
    "stop_token_ids": st.lists(ids, max_size=3).map(tuple), "no_stop_trim": st.booleans(), "ignore_eos": st.booleans(),
}  # fmt: skip
sampling = st.fixed_dictionaries({}, optional=SAMPLING)
WISHES: dict[str, tuple[str, str]] = {
    "want_evidence": ("return_evidence", "return_evidence"), "want_logprobs": ("return_logprob", "logprobs"),
    "top_logprobs": ("top_logprobs_num", "top_logprobs"), "logprob_start": ("logprob_start_len", "logprob_start_len"),
}  # fmt: skip
"""Fields of a request beside its prompt and sampling: their names in ``/generate`` and in a chat."""
NOT_OVER_HTTP = {"videos"}
"""Fields of a request that no endpoint takes: such a field in a body is refused by name."""
wishes = st.fixed_dictionaries(
    {
        "want_evidence": st.booleans(),
        "want_logprobs": st.just(True),
        "top_logprobs": st.integers(0, 9),
        "logprob_start": st.integers(0, 2),
    }
)


def same(request: Request, expected: Request) -> bool:
    return replace(request, request_id="") == replace(expected, request_id="")


def raw(body: dict[str, Any]) -> bytes:
    return json.dumps(body).encode()


def test_the_tables_name_every_field() -> None:
    assert set(SAMPLING) == set(SAMPLING_FIELDS)
    prompt = {"request_id", "text", "input_ids", "images", "processor_output", "sampling"}
    assert set(WISHES) | prompt | NOT_OVER_HTTP == {f.name for f in fields(Request)}


@pytest.mark.parametrize("name", sorted(NOT_OVER_HTTP))
def test_what_no_endpoint_takes_is_refused_by_name(echo: Any, name: str) -> None:
    prompts = ChatPrompts(echo.codec)
    for read, body in (
        (lambda sent: read_generate(sent, echo, 9), {"text": "a"}),
        (lambda sent: read_completions(sent, echo, 9), {"prompt": "a"}),
        (lambda sent: read_chat(sent, echo, prompts), {"messages": [{"role": "user", "content": "a"}]}),
    ):
        with pytest.raises(RequestError, match=f"{name}: unknown field"):
            read(raw(body | {name: []}))


@SETTINGS
@given(st.lists(sampling, min_size=1, max_size=4), wishes)
def test_generate(echo: Any, params: list[dict[str, Any]], wanted: dict[str, Any]) -> None:
    given_wishes = {WISHES[name][0]: value for name, value in wanted.items()}
    expected = [
        Request("", input_ids=[5, 6 + i], sampling=SamplingParams(**one), **wanted) for i, one in enumerate(params)
    ]
    together = {"input_ids": [request.input_ids for request in expected], "sampling_params": params} | given_wishes
    batch = read_generate(raw(together), echo, 9)
    for one, request, found in zip(params, expected, batch.prepared, strict=True):
        alone = read_generate(raw({"input_ids": request.input_ids, "sampling_params": one} | given_wishes), echo, 9)
        assert same(alone.prepared[0].request, request)
        assert same(found.request, request)
        assert len(found.keys) == request.sampling.n


@SETTINGS
@given(sampling, st.booleans(), st.integers(0, 9))
def test_completions(echo: Any, params: dict[str, Any], evidence: bool, top: int) -> None:
    body = {OPENAI_NAMES.get(name, name): value for name, value in params.items()}
    body |= {"return_evidence": evidence, "logprobs": top}
    wanted: dict[str, Any] = {"want_evidence": evidence, "want_logprobs": True, "top_logprobs": top}
    together = read_completions(raw(body | {"prompt": [[5], [6, 7]]}), echo, 9)
    for ids, found in zip(([5], [6, 7]), together.prepared, strict=True):
        assert same(found.request, Request("", input_ids=ids, sampling=SamplingParams(**params), **wanted))
    [alone] = read_completions(raw(body | {"prompt": "hi"}), echo, 9).prepared
    assert same(alone.request, Request("", text="hi", sampling=SamplingParams(**params), **wanted))


@SETTINGS
@given(sampling, wishes)
def test_chat(echo: Any, params: dict[str, Any], wanted: dict[str, Any]) -> None:
    body = {OPENAI_NAMES.get(name, name): value for name, value in params.items()}
    body |= {WISHES[name][1]: value for name, value in wanted.items()}
    body |= {"messages": [{"role": "user", "content": "hi"}], "return_meta_info": True}
    call = read_chat(raw(body), echo, ChatPrompts(echo.codec))
    found = call.prepared[0].request
    assert same(found, Request("", input_ids=found.input_ids, sampling=SamplingParams(**params), **wanted))
    assert len(call.prepared[0].keys) == params.get("n", 1)
