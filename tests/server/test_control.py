"""Text to ids and back, ending requests by name, forgetting caches, health by generating; chats on ``/generate``."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import httpx2
import pytest
from PIL import Image

from reference_engine import Engine

Client = httpx2.Client
CHAT = "/v1/chat/completions"
HELLO = {"role": "user", "content": "héllo <|image_pad|>"}


def post(client: Client, path: str, **body: Any) -> Any:
    answer = client.post(path, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_what_is_tokenized_is_what_runs(real: Client) -> None:
    text = "<|im_start|>user\nread<|im_end|>\n"
    found = post(real, "/tokenize", prompt=text)
    ran = post(real, "/generate", text=text, sampling_params={"max_new_tokens": 1}, return_prompt_token_ids=True)
    assert found["tokens"] == ran["meta_info"]["prompt_token_ids"]
    assert found["count"] == len(found["tokens"])
    chat = post(real, CHAT, messages=[HELLO], max_tokens=1, return_prompt_token_ids=True)
    assert post(real, "/tokenize", messages=[HELLO])["tokens"] == chat["choices"][0]["prompt_token_ids"]
    both = post(real, "/tokenize", prompt=[text, "a"])
    assert both["tokens"][0] == found["tokens"]
    assert both["count"] == [len(tokens) for tokens in both["tokens"]]


def test_ids_become_text_as_in_answers_or_as_written(real: Client) -> None:
    text = "<|im_start|>naïve 图🙂<|im_end|>"
    tokens = post(real, "/tokenize", prompt=text)["tokens"]
    assert post(real, "/detokenize", tokens=tokens)["text"] == "naïve 图🙂"
    assert post(real, "/detokenize", tokens=tokens, skip_special_tokens=False)["text"] == text
    assert post(real, "/detokenize", tokens=[tokens, []])["text"] == ["naïve 图🙂", ""]
    assert post(real, "/detokenize", tokens=[])["text"] == ""


@pytest.mark.parametrize(
    ("path", "body", "status", "param"),
    [
        ("/tokenize", {}, 400, "prompt, messages"),
        ("/tokenize", {"prompt": "a", "messages": []}, 400, "prompt, messages"),
        ("/tokenize", {"prompt": "a", "tools": []}, 400, "tools"),
        ("/tokenize", {"prompt": 3}, 400, "prompt"),
        ("/tokenize", {"prompt": "a", "model": "other"}, 404, "model"),
        ("/tokenize", {"prompt": "a", "add_special_tokens": True}, 400, "add_special_tokens"),
        ("/detokenize", {}, 400, "tokens"),
        ("/detokenize", {"tokens": [1, 300]}, 400, "tokens[1]"),
        ("/detokenize", {"tokens": [[1], [2, -1]]}, 400, "tokens[1][1]"),
        ("/abort", {}, 400, "rid, abort_all"),
        ("/abort", {"rid": "a", "abort_all": True}, 400, "rid, abort_all"),
        ("/abort", {"rid": 7}, 400, "rid"),
        ("/abort_request", {}, 400, "rid, abort_all"),
        ("/generate", {"text": "a", "rid": ""}, 400, "rid"),
        ("/generate", {"text": "a", "rid": ["a"]}, 400, "rid"),
        ("/generate", {"text": ["a", "b"], "rid": "a"}, 400, "rid"),
        ("/generate", {"text": ["a", "b"], "rid": ["a", "a"]}, 409, "rid"),
        ("/v1/completions", {"prompt": ["a", "b"], "rid": "a"}, 400, "rid"),
        ("/v1/completions", {"prompt": "a", "rid": ["a"]}, 400, "rid"),
        ("/generate", {"messages": []}, 400, "messages"),
        ("/generate", {"messages": [HELLO], "text": "a"}, 400, "text, input_ids, messages"),
        ("/generate", {"messages": [HELLO], "image_data": ["a"]}, 400, "image_data"),
        ("/generate", {"text": "a", "tools": []}, 400, "tools"),
        ("/generate", {"messages": [[HELLO], [HELLO | {"content": "a" * 300}]]}, 413, "messages[1]"),
        ("/generate", {"messages": [[HELLO], []]}, 400, "messages[1]"),
        (CHAT, {"messages": [HELLO | {"content": None}]}, 400, "messages[0]"),
        (CHAT, {"messages": [HELLO | {"tool_calls": []}]}, 400, "messages[0]"),
        (CHAT, {"messages": [HELLO], "tool_choice": "required"}, 400, "tool_choice"),
    ],
)  # fmt: skip
def test_refusals_name_the_field(client: Client, path: str, body: dict[str, Any], status: int, param: str) -> None:
    answer = client.post(path, json=body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (status, param), answer.text


def waiting(client: Client, path: str, **body: Any) -> tuple[threading.Thread, list[httpx2.Response]]:
    found: list[httpx2.Response] = []
    thread = threading.Thread(target=lambda: found.append(client.post(path, json=body)))
    thread.start()
    return thread, found


@pytest.mark.parametrize(
    ("path", "body", "reason"),
    [
        ("/generate", {"text": "a long one", "rid": "mine"}, lambda a: a["meta_info"]["finish_reason"]["type"]),
        (CHAT, {"messages": [HELLO], "rid": "mine"}, lambda a: a["choices"][0]["finish_reason"]),
        ("/v1/completions", {"prompt": ["a long one"], "rid": ["mine"]}, lambda a: a["choices"][0]["finish_reason"]),
    ],
)
def test_a_request_is_ended_by_its_name_and_answered(
    client: Client, echo: Any, until: Callable[..., None], path: str, body: Any, reason: Callable[[Any], str]
) -> None:
    echo.go.clear()
    thread, found = waiting(client, path, **body)
    until(echo.has_work)
    taken = client.post("/generate", json={"text": "a", "rid": "mine"})
    assert (taken.status_code, taken.json()["error"]["param"]) == (409, "rid")
    assert post(client, "/abort", rid=["mine", "other"]) == {"aborted": ["mine"]}
    echo.go.set()
    thread.join(20)
    assert found[0].status_code == 200
    assert reason(found[0].json()) == "abort"
    assert post(client, "/abort_request", rid="mine") == {"aborted": []}
    assert post(client, "/generate", text="a", rid="mine")["meta_info"]["id"] == "mine"


def test_all_are_ended_at_once(client: Client, echo: Any, until: Callable[..., None]) -> None:
    echo.go.clear()
    waits = [waiting(client, "/generate", text=["one long", "two long"], rid=[f"{i}", f"{i}b"]) for i in range(3)]
    until(lambda: len(echo._running) > 0)
    until(lambda: "1b" in str(post(client, "/abort", rid="1b")))
    assert len(post(client, "/abort", abort_all=True)["aborted"]) >= 2
    echo.go.set()
    for thread, _ in waits:
        thread.join(20)
    assert not echo.has_work()


def test_caches_are_forgotten_between_steps(real: Client, engine: Engine, client: Client, echo: Any) -> None:
    body = {"text": "x" * 80, "sampling_params": {"max_new_tokens": 1}, "return_evidence": True}
    cached = [post(real, "/generate", **body)["meta_info"]["evidence"]["cached_tokens"] for _ in range(2)]
    assert cached[1] > 0
    assert real.post("/flush_cache").json() == {"status": "ok"}
    assert post(real, "/generate", **body)["meta_info"]["evidence"]["cached_tokens"] == 0
    assert client.post("/flush_cache").status_code == 200
    assert echo.flushed == 1
    assert echo.threads == {"assay-engine"}


def test_health_by_generating_and_what_a_dead_engine_says(
    client: Client, echo: Any, until: Callable[..., None]
) -> None:
    assert client.get("/health_generate").json() == {"status": "ok"}
    assert echo.batches[-1] == 1
    assert client.post("/generate", json={"text": "die"}).status_code == 503
    for method, path in (("GET", "/health_generate"), ("POST", "/flush_cache")):
        answer = client.request(method, path)
        assert (answer.status_code, answer.json()["error"]["param"]) == (503, "engine")


def test_an_engine_that_does_not_step_fails_health(serve: Callable[..., Any], echo: Any) -> None:
    with serve(echo, health_seconds=1) as client:
        echo.go.clear()
        answer = client.get("/health_generate")
        echo.go.set()
        assert answer.status_code == 503
        assert "no token was generated within 1 s" in answer.json()["error"]["message"]
        assert client.get("/health_generate").status_code == 200


def test_a_chat_on_generate_is_the_chat_endpoints(real: Client, uri: Callable[..., str]) -> None:
    picture = {"type": "image_url", "image_url": {"url": uri(Image.new("RGB", (84, 56)))}}
    chats = [[{"role": "user", "content": [picture, {"type": "text", "text": "read"}]}], [HELLO]]
    wanted = {"sampling_params": {"max_new_tokens": 3}, "return_prompt_token_ids": True}
    together = post(real, "/generate", messages=chats, **wanted)
    for messages, found in zip(chats, together, strict=True):
        alone = post(real, "/generate", messages=messages, **wanted)
        [choice] = post(real, CHAT, messages=messages, max_tokens=3, return_prompt_token_ids=True)["choices"]
        for one in (alone, found):
            assert one["meta_info"]["prompt_token_ids"] == choice["prompt_token_ids"]
            assert one["text"] == choice["message"]["content"]
        assert post(real, "/predict", messages=messages)["prompt_ids"] == choice["prompt_token_ids"]
        native = post(real, "/predict", messages=messages, sampling_params={})
        assert native["prompt_ids"] == choice["prompt_token_ids"]
