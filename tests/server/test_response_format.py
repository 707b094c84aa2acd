"""Grammars over HTTP: as OpenAI's clients ask for them, and as SGLang's do."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import pytest

pytest.importorskip("llguidance", reason="an extra")
CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
SCHEMA = {
    "type": "object",
    "properties": {"n": {"type": "integer", "minimum": 0, "maximum": 99}, "s": {"enum": ["a", "ö"]}},
    "required": ["n", "s"],
    "additionalProperties": False,
}
WRONG = {"type": "json_schema", "json_schema": {"schema": {"type": "x"}}}
FORMAT = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA, "strict": True}}
HELLO = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 120}


def fits(text: str) -> bool:
    found = json.loads(text)
    return set(found) == {"n", "s"} and isinstance(found["n"], int) and found["s"] in ("a", "ö")


def test_every_choice_of_a_chat_and_of_a_batch_fits(real: httpx2.Client) -> None:
    sampling = {"n": 2, "temperature": 0.8, "seed": 3}
    chat = real.post(CHAT, json=HELLO | sampling | {"response_format": FORMAT}).json()
    assert all(choice["finish_reason"] == "stop" and fits(choice["message"]["content"]) for choice in chat["choices"])
    body = {"prompt": ["one", "two"], "max_tokens": 120} | sampling
    texts = [choice["text"] for choice in real.post(TEXT, json=body | {"response_format": FORMAT}).json()["choices"]]
    assert len(texts) == 4
    assert all(map(fits, texts))
    params = {"json_schema": json.dumps(SCHEMA), "max_new_tokens": 120, "temperature": 0.8, "seed": 3, "n": 2}
    native = real.post("/generate", json={"text": ["one", "two"], "sampling_params": params}).json()
    assert [answer["text"] for answer in native] == texts
    mixed = [params | {"n": 1}, {"max_new_tokens": 3, "ignore_eos": True}, {"regex": "[ab]{5}", "max_new_tokens": 9}]
    held, free, regex = real.post("/generate", json={"text": ["one", "x", "y"], "sampling_params": mixed}).json()
    assert fits(held["text"])
    assert len(free["output_ids"]) == 3
    assert len(regex["text"]) == 5
    assert set(regex["text"]) <= set("ab")


def test_any_object_and_plain_text(real: httpx2.Client) -> None:
    anything = real.post(CHAT, json=HELLO | {"response_format": {"type": "json_object"}, "max_tokens": 20}).json()
    assert anything["choices"][0]["message"]["content"].startswith("{")
    plain = real.post(CHAT, json=HELLO | {"response_format": {"type": "text"}}).json()
    assert plain["choices"] == real.post(CHAT, json=HELLO).json()["choices"]


@pytest.mark.parametrize(
    ("body", "param", "says"),
    [
        ({"response_format": {"type": "xml"}}, "response_format.type", "xml"),
        ({"response_format": {"type": "json_schema"}}, "response_format", "json_schema belongs to"),
        ({"response_format": {"type": "text", "json_schema": {"schema": {}}}}, "response_format", "belongs to"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {}}},
            "response_format.json_schema.schema",
            "required",
        ),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "x"}}}},
            "response_format",
            "held",
        ),
        ({"response_format": FORMAT, "regex": "a"}, "response_format", "one of them"),
        ({"response_format": FORMAT, "ignore_eos": True}, "ignore_eos", "beside json_schema"),
        ({"json_schema": "{"}, "json_schema", "JSON object"),
    ],
)
def test_refusals_are_in_the_callers_words(real: httpx2.Client, body: dict[str, Any], param: str, says: str) -> None:
    for path, prompt in ((CHAT, HELLO), (TEXT, {"prompt": "a"})):
        answer = real.post(path, json=prompt | body)
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, param), answer.text
        assert says in answer.json()["error"]["message"]


def test_grammars_of_one_call_take_no_longer_than_one_may(real: httpx2.Client) -> None:
    held = [{"regex": f"{i}" + "a?" * 4000, "max_new_tokens": 1} for i in range(5)]
    refused = real.post("/generate", json={"text": ["a"] * 5, "sampling_params": held})
    assert (refused.status_code, refused.json()["error"]["param"]) == (413, "sampling_params")
    same = real.post("/generate", json={"text": ["a"] * 5, "sampling_params": held[:1] * 5})
    assert same.status_code == 200
