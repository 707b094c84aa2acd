"""What is refused of a body before anybody asks what it means."""

from __future__ import annotations

import json
import socket
import time
from typing import Any

import pytest
from pydantic import ValidationError

from reference_engine import RequestError
from reference_engine.server.bodies import check_keys, check_structure
from reference_engine.server.limits import Limits
from reference_engine.server.protocol import GenerateBody

LIMITS = Limits(max_depth=5, max_containers=50, max_values=200)


def refusal(raw: bytes) -> RequestError:
    with pytest.raises(RequestError) as caught:
        check_structure(raw, LIMITS)
    assert caught.value.field == "body"
    return caught.value


def test_depth_is_counted_and_brackets_in_strings_are_not() -> None:
    check_structure(json.dumps([[[[[1]]]]]).encode(), LIMITS)
    check_structure(json.dumps(["[" * 40, '\\"[[[[[[{{{{', [[[["]" * 9]]]]]).encode(), LIMITS)
    assert "nested more than 5 deep" in refusal(json.dumps([[[[[[1]]]]]]).encode()).message
    assert "nested more than 5 deep" in refusal(b'{"a":' * 6).message
    assert "nested more than 5 deep" in refusal(b'"\\\\"[[[[[["').message


@pytest.mark.parametrize("raw", [b"[" + b"[]," * 50 + b"[]]", b"[" + b"{}," * 50 + b"{}]"])
def test_containers_are_counted(raw: bytes) -> None:
    assert refusal(raw).status == 413
    check_structure(raw.replace(b"[],", b"", 2).replace(b"{},", b"", 2), LIMITS)


def test_names_and_values_are_counted_outside_strings() -> None:
    assert "50 lists, objects or names" in refusal(json.dumps(dict.fromkeys(map(str, range(51)), 1)).encode()).message
    check_structure(json.dumps(dict.fromkeys(map(str, range(50)), 1)).encode(), LIMITS)
    assert "more than 200 values" in refusal(json.dumps([1] * 202).encode()).message
    check_structure(json.dumps([1] * 201).encode(), LIMITS)
    check_structure(json.dumps([",:" * 999, 1]).encode(), LIMITS)


def test_a_key_that_comes_twice_is_named() -> None:
    check_keys(b'{"a": 1, "b": [{"a": 1}, {"a": 2}]}')
    with pytest.raises(RequestError, match=r"^a: was given twice"):
        check_keys(b'{"b": [{"a": 1, "a": 1}]}')


def test_structure_is_judged_before_the_body_is_parsed(client: Any) -> None:
    deep = client.post("/predict", content=b'{"messages": ' + b"[" * 50_000)
    assert (deep.status_code, deep.json()["error"]["param"]) == (400, "body")
    for path in ("/generate", "/v1/chat/completions", "/v1/completions", "/predict"):
        wide = client.post(path, content=b'{"input_ids": [' + b"[]," * 200_000 + b"[]]}")
        assert (wide.status_code, wide.json()["error"]["param"]) == (413, "body")
    twice = client.post("/generate", content=b'{"text": "a", "text": "b"}')
    assert (twice.status_code, twice.json()["error"]["param"]) == (400, "text")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"content-type": "application/json; charset=utf-8"}, 200),
        ({"content-type": "application/vnd.api+json"}, 200),
        ({"content-type": "text/plain"}, 415),
        ({"content-type": "application/x-www-form-urlencoded"}, 415),
        ({"content-type": "application/json; charset=latin-1"}, 415),
        ({"content-encoding": "gzip"}, 415),
    ],
)
def test_types_that_are_not_read_are_refused_by_header(client: Any, headers: dict[str, str], status: int) -> None:
    answer = client.post("/generate", content=b'{"text": "a"}', headers=headers)
    assert answer.status_code == status
    if status != 200:
        assert answer.json()["error"]["param"] == next(iter(headers))


def test_a_body_that_trickles_is_ended(echo: Any, serve: Any) -> None:
    with serve(echo, body_seconds=1) as client:
        with socket.create_connection((client.base_url.host, client.base_url.port), timeout=20) as raw:
            raw.sendall(b"POST /generate HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
            assert raw.recv(4096).startswith(b"HTTP/1.1 408")
        assert client.post("/generate", json={"text": "a"}).status_code == 200


def test_a_body_that_breaks_off_leaves_nothing(echo: Any, serve: Any, caplog: pytest.LogCaptureFixture) -> None:
    with serve(echo, max_calls=1) as client:
        for _ in range(3):
            with socket.create_connection((client.base_url.host, client.base_url.port)) as raw:
                raw.sendall(b"POST /generate HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
                time.sleep(0.05)
        answer = client.post("/generate", json={"text": "a"})
        while answer.status_code == 429:
            answer = client.post("/generate", json={"text": "a"})
        assert answer.status_code == 200
    assert not caplog.records


def test_a_long_name_or_value_is_not_sent_back(client: Any) -> None:
    for body in ({"text": "a", "n" * 100_000: 1}, {"prompt": "a", "model": "m" * 100_000}):
        answer = client.post("/v1/completions" if "prompt" in body else "/generate", json=body)
        assert answer.status_code in (400, 404)
        assert len(answer.content) < 2000


def test_bodies_of_calls_that_wait_are_counted_and_given_back(echo: Any, serve: Any, until: Any) -> None:
    with serve(echo, max_held_mb=1) as client:
        echo.go.clear()
        body = {"input_ids": [5] * 9} | {"text": None}
        with socket.create_connection((client.base_url.host, client.base_url.port)) as raw:
            content = json.dumps(body).encode() + b" " * 2**20
            raw.sendall(b"POST /generate HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(content) + content)
            until(echo.has_work)
            refused = client.post("/generate", json={"text": "a"})
            assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
            assert "hold 1 MB" in refused.json()["error"]["message"]
            assert client.get("/health").status_code == 200
        echo.go.set()
        until(lambda: client.post("/generate", json={"text": "a"}).status_code == 200)


@pytest.mark.parametrize("entry", ['""', "[1, true]"])
def test_of_a_million_wrong_entries_one_is_told_of(entry: str) -> None:
    with pytest.raises(ValidationError) as caught:
        GenerateBody.model_validate_json(f'{{"input_ids": [{",".join([entry] * 99)}]}}')
    assert caught.value.error_count() == 1
