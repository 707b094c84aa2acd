"""The routes over a small real engine, behind a real port."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable
from typing import Any

import httpx2
import pytest

Client = httpx2.Client
HELLO = {"role": "user", "content": "a"}


def events(client: Client, path: str, body: dict[str, Any]) -> list[Any]:
    with client.stream("POST", path, json=body) as answer:
        assert answer.status_code == 200, answer.read()
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = [line.removeprefix("data: ") for line in answer.iter_lines() if line]
    return [line if line == "[DONE]" else json.loads(line) for line in lines]


def test_a_prompt_is_answered_in_the_documented_shape(client: Client) -> None:
    body = client.post("/generate", json={"text": "héllo", "return_logprob": True}).json()
    assert body["text"] == "h��llo"
    meta = body["meta_info"]
    assert set(body) == {"text", "output_ids", "meta_info"}
    assert meta["prompt_tokens"] == meta["completion_tokens"] == len(body["output_ids"]) == 6
    assert meta["finish_reason"] == {"type": "length", "length": meta["completion_tokens"]}
    assert meta["output_token_logprobs"] == [[-0.5, token, None] for token in body["output_ids"]]
    assert "evidence" not in meta


def test_lists_are_answered_in_order_and_one_failure_leaves_the_others(client: Client) -> None:
    found = client.post("/generate", json={"text": ["one", "fail now", "three"]})
    assert found.status_code == 200
    first, second, third = found.json()
    assert (first["text"], third["text"]) == ("one", "three")
    assert second["error"]["code"] == 500
    assert second["meta_info"]["finish_reason"] == {"type": "error"}
    [only] = client.post("/generate", json={"input_ids": [[5, 6]]}).json()
    assert only["output_ids"] == [5, 6]


def test_a_request_that_fails_in_the_engine_has_its_own_status(client: Client) -> None:
    answer = client.post("/generate", json={"text": "fail now"})
    assert answer.status_code == 500
    assert answer.json()["error"] == {
        "message": "image_data[0]: failed as asked", "type": "engine_error", "param": "image_data[0]", "code": 500,
    }  # fmt: skip
    assert client.get("/health").status_code == 200


def test_streamed_events_grow_to_the_answer(client: Client) -> None:
    whole = client.post("/generate", json={"text": "hello", "return_logprob": True}).json()
    *some, last, done = events(client, "/generate", {"text": "hello", "stream": True, "return_logprob": True})
    assert done == "[DONE]"
    assert [e["text"] for e in some] == ["h", "he", "hel", "hell"]
    assert [e["meta_info"]["completion_tokens"] for e in some] == [1, 2, 3, 4]
    for made in (whole, last):
        del made["meta_info"]["id"], made["meta_info"]["e2e_latency"]
    assert last == whole


def test_a_streamed_list_says_whose_event_it_is(client: Client) -> None:
    found = events(client, "/generate", {"text": ["ab", "fail now"], "stream": True})
    last = {e["index"]: e for e in found[:-1]}
    assert last[0]["text"] == "ab"
    assert last[1]["error"]["message"] == "image_data[0]: failed as asked"


def test_chat_counts_streams_and_agrees_with_itself(client: Client) -> None:
    body = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 9, "logprobs": True}
    whole = client.post("/v1/chat/completions", json=body).json()
    [choice] = whole["choices"]
    assert whole["usage"]["completion_tokens"] == 9 == len(choice["logprobs"]["content"])
    options = {"stream": True, "stream_options": {"include_usage": True}}
    *chunks, usage, done = events(client, "/v1/chat/completions", body | options)
    assert done == "[DONE]"
    assert usage["choices"] == []
    assert usage["usage"] == whole["usage"]
    deltas = [chunk["choices"][0] for chunk in chunks]
    assert deltas[0]["delta"] == {"role": "assistant", "content": ""}
    assert "".join(d["delta"].get("content", "") for d in deltas) == choice["message"]["content"]
    assert deltas[-1]["finish_reason"] == choice["finish_reason"] == "length"
    pieces = [entry for d in deltas if d["logprobs"] for entry in d["logprobs"]["content"]]
    assert pieces == choice["logprobs"]["content"]
    assert "assay_evidence" not in whole


def test_choices_are_a_list_in_order_of_prompts(client: Client) -> None:
    body = {"text": "ab", "sampling_params": {"n": 2}, "return_logprob": True, "top_logprobs_num": 2}
    found = client.post("/generate", json=body).json()
    assert [answer["text"] for answer in found] == ["ab", "ab"]
    assert found[0]["meta_info"]["output_top_logprobs"] == [[[-0.25, 7, None], [-1.0, 8, None]]] * 2
    many = {"text": ["ab", "fail now", "c"], "sampling_params": [{"n": 2}, {"n": 2}, {}]}
    found = client.post("/generate", json=many).json()
    assert [answer.get("text") for answer in found] == ["ab", "ab", "fail now", None, "c"]
    assert found[3]["error"]["message"] == "image_data[0]: failed as asked"
    streamed = events(client, "/generate", many | {"stream": True})[:-1]
    last = {event["index"]: event for event in streamed}
    assert [last[i].get("text") for i in range(5)] == ["ab", "ab", "fail now", None, "c"]


def test_logprobs_of_the_prompt_are_in_meta_info_with_their_ids(client: Client) -> None:
    body = {"input_ids": [70, 71, 72], "return_logprob": True, "logprob_start_len": 0}
    meta = client.post("/generate", json=body).json()["meta_info"]
    assert meta["input_token_logprobs"] == [[None, 70, None], [-0.5, 71, None], [-0.5, 72, None]]
    assert "input_top_logprobs" not in meta
    meta = client.post("/generate", json=body | {"logprob_start_len": 2, "top_logprobs_num": 2}).json()["meta_info"]
    assert meta["input_token_logprobs"] == [[-0.5, 72, None]]
    assert meta["input_top_logprobs"] == [[[-0.25, 7, None], [-1.0, 8, None]]]
    assert (
        "input_token_logprobs"
        not in client.post("/generate", json=body | {"logprob_start_len": -1}).json()["meta_info"]
    )
    chat = {"input_ids": [70, 71, 72], "logprobs": True, "logprob_start_len": 1, "return_meta_info": True}
    [choice] = client.post("/v1/chat/completions", json=chat).json()["choices"]
    assert choice["meta_info"]["input_token_logprobs"] == [[-0.5, 71, None], [-0.5, 72, None]]


def test_choices_of_a_chat(client: Client) -> None:
    body = {"messages": [HELLO], "n": 2, "logprobs": True, "top_logprobs": 2, "max_tokens": 4}
    whole = client.post("/v1/chat/completions", json=body).json()
    assert [choice["index"] for choice in whole["choices"]] == [0, 1]
    first = whole["choices"][0]["logprobs"]["content"][0]
    assert first["top_logprobs"] == [
        {"token": name, "logprob": p, "bytes": [ord(name)]} for name, p in (("(", -0.25), (")", -1))
    ]
    prompt = whole["usage"]["prompt_tokens"]
    assert whole["usage"] == {"prompt_tokens": prompt, "completion_tokens": 8, "total_tokens": prompt + 8}
    options = {"stream": True, "stream_options": {"include_usage": True}}
    *chunks, usage, _ = events(client, "/v1/chat/completions", body | options)
    assert usage["usage"] == whole["usage"]
    for choice in whole["choices"]:
        own = [c["choices"][0] for c in chunks if c["choices"][0]["index"] == choice["index"]]
        assert own[0]["delta"] == {"role": "assistant", "content": ""}
        assert "".join(c["delta"].get("content", "") for c in own) == choice["message"]["content"]
        pieces = [entry for c in own if c["logprobs"] for entry in c["logprobs"]["content"]]
        assert pieces == choice["logprobs"]["content"]
        assert [c["finish_reason"] for c in own[:-1]] == [None] * (len(own) - 1)
        assert own[-1]["finish_reason"] == choice["finish_reason"]


def test_one_choice_of_a_chat_that_fails_leaves_the_other(client: Client, echo: Any) -> None:
    echo.tokenizer.chat_template = "{{ messages[0]['content'] }}"
    body = {"messages": [HELLO | {"content": "fail now"}], "n": 2}
    good, bad = client.post("/v1/chat/completions", json=body).json()["choices"]
    assert (good["message"]["content"], good["finish_reason"]) == ("fail now", "length")
    assert (bad["message"]["content"], bad["finish_reason"], bad["error"]["code"]) == ("fai", "error", 500)
    chunks = [c["choices"][0] for c in events(client, "/v1/chat/completions", body | {"stream": True})[:-1]]
    last = {chunk["index"]: chunk for chunk in chunks}
    assert last[0]["finish_reason"] == "length"
    assert last[1]["error"] == bad["error"]
    alone = client.post("/v1/chat/completions", json=body | {"n": 1})
    assert (alone.status_code, alone.json()["error"]) == (500, bad["error"])


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"messages": [HELLO], "top_logprobs": 2}, 400, "top_logprobs"),
        ({"messages": [HELLO], "logprobs": True, "top_logprobs": 101}, 400, "top_logprobs"),
        ({"messages": [HELLO], "logprobs": True, "logprob_start_len": 0}, 400, "logprob_start_len"),
        ({"messages": []}, 400, "messages"),
        ({"messages": [HELLO], "model": "other"}, 404, "model"),
        ({"messages": [HELLO], "max_tokens": 1, "max_completion_tokens": 2}, 400, "max_tokens"),
        ({"messages": [HELLO | {"content": "a" * 300}]}, 413, "messages"),
    ],
)
def test_bad_chats_are_refused_in_chat_words(client: Client, body: dict[str, Any], status: int, param: str) -> None:
    answer = client.post("/v1/chat/completions", json=body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (status, param)


def test_the_bad_image_of_a_chat_is_named_by_its_part(client: Client) -> None:
    part = {"type": "image_url", "image_url": {"url": "http://example.com/a.png"}}
    body = {"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, part]}]}
    error = client.post("/v1/chat/completions", json=body).json()["error"]
    assert error["param"] == "messages[0].content[1].image_url.url"
    assert "not fetched" in error["message"]


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"text": "a", "top_logprobs_num": 2}, 400, "top_logprobs_num"),
        ({"text": "a", "logprob_start_len": 0}, 400, "logprob_start_len"),
        ({"text": "a", "return_logprob": True, "top_logprobs_num": -1}, 400, "top_logprobs_num"),
        ({"text": "a", "image_data": ["aGk="]}, 400, "image_data[0]"),
        ({"text": ["a", "b"], "image_data": [None, ["aGk="]]}, 400, "image_data[1][0]"),
        ({"text": "a", "image_data": ["aGk="] * 3}, 413, "image_data"),
        ({"input_ids": [1] * 201}, 413, "input_ids"),
        ({"input_ids": [1, 999]}, 400, "input_ids[1]"),
        ({"input_ids": [[1], [1, 2, 999]]}, 400, "input_ids[1][2]"),
        ({"input_ids": []}, 400, "input_ids"),
        ({"text": ""}, 400, "text"),
        ({"text": "refuse"}, 400, "text"),
    ],
)
def test_bad_requests_name_the_field(client: Client, body: dict[str, Any], status: int, param: str) -> None:
    for extra in ({}, {"stream": True}):
        answer = client.post("/generate", json=body | extra)
        assert (answer.status_code, answer.json()["error"]["param"]) == (status, param)
        assert answer.json()["error"]["type"] == "invalid_request_error"


def test_a_body_that_is_too_large_is_refused_whether_or_not_it_says_so(client: Client) -> None:
    big = b'{"text": "' + b"a" * 2**20 + b'"}'
    for content in (big, (big[i : i + 65536] for i in range(0, len(big), 65536))):
        answer = client.post("/generate", content=content)
        assert answer.status_code == 413
        assert answer.json()["error"]["message"] == "body: more than 1048576 bytes"


def test_unknown_routes_and_methods_answer_in_json(client: Client) -> None:
    for method, path, status in (("GET", "/nope", 404), ("GET", "/generate", 405), ("POST", "/health", 405)):
        error = client.request(method, path).json()["error"]
        assert error["code"] == status
        assert error["message"].startswith(f"{method} {path}: ")


def test_pages(client: Client) -> None:
    client.post("/generate", json={"text": "ab"})
    assert client.get("/health").json() == {"status": "ok"}
    assert client.get("/v1/models").json()["data"][0]["id"] == "echo"
    info = client.get("/server_info").json()
    assert info["toggles"]["vit_batching"] == "cross_request"
    assert info["config"]["max_images"] == 2
    assert info["limits"]["max_body_mb"] == 1
    assert info["versions"]["torch"]
    text = client.get("/metrics").text
    assert "assay_up 1.0" in text
    assert "assay_steps_total 2.0" in text


def test_the_openapi_description_holds_every_field_and_error(client: Client) -> None:
    described = client.get("/openapi.json").json()
    assert all({"4XX", "5XX"} <= set(one["responses"]) for path in described["paths"].values() for one in path.values())
    assert set(described["paths"]["/metrics"]["get"]["responses"]["200"]["content"]) == {"text/plain"}
    schema = described["paths"]["/generate"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    name = schema["$ref"].rsplit("/", 1)[1]
    assert "image_data" in described["components"]["schemas"][name]["properties"]
    assert "max_new_tokens" in described["components"]["schemas"]["SamplingParams"]["properties"]


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_hangs_up_aborts_its_request(
    echo: Any, serve: Any, until: Callable[..., None], stream: bool
) -> None:
    with serve(echo) as client:
        body = json.dumps({"text": "a long prompt", "stream": stream}).encode()
        echo.go.clear()
        with socket.create_connection((client.base_url.host, client.base_url.port)) as raw:
            head = f"POST /generate HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
            raw.sendall(head.encode() + body)
            until(lambda: len(echo.threads) > 0 and echo.has_work())
        threading.Timer(0.3, echo.go.set).start()
        until(lambda: len(echo.aborted) == 1)
        until(lambda: "assay_running 0.0" in client.get("/metrics").text)
        assert client.post("/generate", json={"text": "next"}).json()["text"] == "next"


def test_a_reader_that_takes_nothing_is_given_up(echo: Any, serve: Any, until: Callable[..., None]) -> None:
    """Its stream is larger than what lies between server and reader can hold."""
    with serve(echo, reader_seconds=1, max_calls=1) as client, socket.socket() as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.connect((client.base_url.host, client.base_url.port))
        body = {"input_ids": [65] * 200, "stream": True, "sampling_params": {"n": 128, "max_new_tokens": 200}}
        content = json.dumps(body | {"return_logprob": True}).encode()
        raw.sendall(b"POST /generate HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(content) + content)
        until(lambda: bool(echo.batches))
        assert client.post("/generate", json={"text": "a"}).status_code == 429
        until(lambda: client.post("/generate", json={"text": "a"}).status_code == 200)


def test_a_dead_engine_fails_health_and_every_client(echo: Any, serve: Any) -> None:
    with serve(echo) as client:
        echo.go.clear()
        found: list[httpx2.Response] = []
        threads = [
            threading.Thread(target=lambda t=text: found.append(client.post("/generate", json={"text": t})))
            for text in ("patient client", "die", "patient too")
        ]
        for thread in threads:
            thread.start()
        echo.go.set()
        for thread in threads:
            thread.join(20)
        assert 503 in [answer.status_code for answer in found]
        assert len(found) == 3
        health = client.get("/health")
        assert health.status_code == 503
        assert "ZeroDivisionError" in health.json()["error"]["message"]
        late = client.post("/generate", json={"text": "late", "stream": True})
        assert late.status_code == 503
        assert late.json()["error"]["type"] == "engine_error"
        assert "assay_up 0.0" in client.get("/metrics").text


def test_health_answers_while_the_engine_is_busy(echo: Any, serve: Any) -> None:
    with serve(echo) as client:
        echo.go.clear()
        thread = threading.Thread(target=lambda: client.post("/generate", json={"text": "busy"}))
        thread.start()
        assert client.get("/health", timeout=5).status_code == 200
        echo.go.set()
        thread.join(20)


def test_more_calls_than_allowed_are_turned_away(echo: Any, serve: Any, until: Callable[..., None]) -> None:
    with serve(echo, max_calls=1) as client:
        echo.go.clear()
        thread = threading.Thread(target=lambda: client.post("/generate", json={"text": "first"}))
        thread.start()
        until(echo.has_work)
        answer = client.post("/generate", json={"text": "second"})
        assert answer.status_code == 429
        assert answer.headers["retry-after"] == "1"
        echo.go.set()
        thread.join(20)
        assert client.post("/generate", json={"text": "third"}).status_code == 200


@pytest.mark.parametrize(
    ("path", "body"),
    [("/v1/chat/completions", {"messages": [HELLO], "n": 2}), ("/v1/completions", {"prompt": ["hé", "abc"], "n": 2})],
)
def test_usage_of_every_event_counts_its_choice(client: Client, path: str, body: dict[str, Any]) -> None:
    options = {"stream": True, "stream_options": {"include_usage": True, "continuous_usage_stats": True}}
    *chunks, whole, _ = events(client, path, body | options)
    counts: dict[int, list[int]] = {}
    for chunk in chunks:
        usage = chunk["usage"]
        assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
        counts.setdefault(chunk["choices"][0]["index"], []).append(usage["completion_tokens"])
    assert all(made == sorted(made) and made[0] <= 1 for made in counts.values())
    assert sum(made[-1] for made in counts.values()) == whole["usage"]["completion_tokens"]
    plain, *_ = events(client, path, body | {"stream": True})
    assert "usage" not in plain


def test_an_empty_list_fits_what_is_described(client: Any) -> None:
    """Found by schemathesis: a list of nothing is a list of ids, and of lists, and so was described as neither."""
    described = client.get("/openapi.json").json()["components"]["schemas"]
    assert "anyOf" in described["DetokenizeBody"]["properties"]["tokens"]
    assert "oneOf" not in json.dumps(described)
