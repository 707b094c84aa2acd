"""Unknown fields: refused by name, or dropped where the call asks for it, and then told."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reference_engine.server.leniency import without_unknown
from reference_engine.server.protocol import ChatBody, GenerateBody

ASK = {"x-unknown-fields": "ignore"}
PART = {"type": "text", "text": "a", "cache": 1}
CALLS: list[tuple[str, dict[str, Any], dict[str, Any], list[str]]] = [
    (
        "/generate",
        {"text": "ab", "user": "x", "sampling_params": {"max_new_tokens": 1, "best_of": 2}},
        {"text": "ab", "sampling_params": {"max_new_tokens": 1}},
        ["user", "sampling_params.best_of"],
    ),
    (
        "/v1/chat/completions",
        {"messages": [{"role": "user", "content": [PART], "id": 3}], "max_tokens": 2, "store": True, ":odd é": 1},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}]}], "max_tokens": 2},
        ["messages[0].content[0].cache", "messages[0].id", "store", "%3Aodd%20%C3%A9"],
    ),
    (
        "/v1/completions",
        {"prompt": ["ab"], "stream_options": {"include_usage": True, "often": True}, "best_of": 1},
        {"prompt": ["ab"], "stream_options": {"include_usage": True}},
        ["stream_options.often", "best_of"],
    ),
]


@pytest.mark.parametrize(("path", "body", "known", "names"), CALLS)
def test_what_is_unknown_is_dropped_on_request_and_told(
    client: httpx2.Client, path: str, body: dict[str, Any], known: dict[str, Any], names: list[str]
) -> None:
    strict = client.post(path, json=body)
    assert strict.status_code == 400
    assert "unknown field" in strict.json()["error"]["message"]
    lenient = client.post(path, json=body, headers=ASK)
    assert lenient.status_code == 200, lenient.text
    assert set(names) <= set(lenient.headers["x-ignored-fields"].split(", "))
    expected = client.post(path, json=known, headers=ASK)
    assert "x-ignored-fields" not in expected.headers
    assert stable(lenient.json()) == stable(expected.json())
    stream = client.post(path, json=body | {"stream": True}, headers=ASK)
    assert (stream.status_code, stream.headers["x-ignored-fields"]) == (200, lenient.headers["x-ignored-fields"])


def stable(answer: Any) -> Any:
    """Without what is another in every answer."""
    changing = ("id", "created", "e2e_latency")
    if isinstance(answer, dict):
        return {name: stable(value) for name, value in answer.items() if name not in changing}
    return [stable(value) for value in answer] if isinstance(answer, list) else answer


@pytest.mark.parametrize(
    ("headers", "body", "param"),
    [
        (ASK, {"text": "a", "user": 1, "stream": "yes"}, "stream"),
        (ASK, {"text": 3, "user": 1}, "text"),
        (ASK, {"user": 1}, "text, input_ids, messages"),
        ({"x-unknown-fields": "yes"}, {"text": "a"}, "x-unknown-fields"),
        ({"x-unknown-fields": "refuse"}, {"text": "a", "user": 1}, "user"),
    ],
)
def test_all_else_stays_strict(client: httpx2.Client, headers: dict[str, str], body: Any, param: str) -> None:
    answer = client.post("/generate", json=body, headers=headers)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=80, deadline=None)
@given(st.dictionaries(st.text(), json_values, max_size=4), st.dictionaries(st.text(), json_values, max_size=3))
def test_what_is_known_stays_as_it_was(outside: dict[str, Any], inside: dict[str, Any]) -> None:
    known = {"text": "é", "sampling_params": {"top_p": 0.1, "stop": ["\U0001f642"]}}
    outside = {name: value for name, value in outside.items() if name not in GenerateBody.model_fields}
    inside = {name: value for name, value in inside.items() if name not in ("top_p", "stop")}
    body = outside | known | {"sampling_params": inside | known["sampling_params"]}
    kept, dropped = without_unknown(GenerateBody, json.dumps(body).encode())
    assert json.loads(kept) == known
    assert len(dropped) == len(outside) + len(inside)


def test_more_than_anybody_means_is_refused_in_the_end(client: httpx2.Client) -> None:
    message = {"role": "user", "content": "a", "x": 1}
    kept, dropped = without_unknown(ChatBody, json.dumps({"messages": [message] * 80}).encode())
    assert len(dropped) == 64
    assert json.loads(kept)["messages"][79] == message
