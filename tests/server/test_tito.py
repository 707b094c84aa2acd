"""Token in, token out: a chat call or ``/generate`` with ids of its own, over the real engine (sglang#23751)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from PIL import Image

from reference_engine import Engine, EngineConfig

CHAT = "/v1/chat/completions"
SLOT = "<|vision_start|><|image_pad|><|vision_end|>"
NEW = {"return_prompt_token_ids", "return_meta_info"}


def user(uri: Callable[..., str], *sizes: tuple[int, int]) -> dict[str, Any]:
    urls = [uri(Image.new("RGB", size, (90, 20 * i, 200))) for i, size in enumerate(sizes)]
    parts = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    return {"role": "user", "content": [*parts, {"type": "text", "text": "Describe the digit"}]}


def drifting(engine: Engine, images: int) -> list[int]:
    """Ids that no tokenizer would have made, so that rendering or tokenizing again would show."""
    pieces = [*[SLOT] * images, "D", "escribe the digit of row", "1"]
    return [i for piece in pieces for i in engine.codec.encode(piece)]


def collapsed(ids: list[int], placeholder: int) -> list[int]:
    return [token for i, token in enumerate(ids) if token != placeholder or ids[i - 1] != placeholder]


@pytest.mark.parametrize("sizes", [(), ((84, 56),), ((84, 56), (365, 211))])
def test_input_ids_outrank_the_messages_and_keep_their_images(
    real: httpx2.Client, engine: Engine, uri: Any, sizes: tuple[tuple[int, int], ...]
) -> None:
    ids = drifting(engine, len(sizes))
    body = {"messages": [user(uri, *sizes)], "input_ids": ids, "max_tokens": 4, "return_prompt_token_ids": True}
    answer = real.post(CHAT, json=body).json()
    run = answer["choices"][0]["prompt_token_ids"]
    assert len(run) == answer["usage"]["prompt_tokens"]
    assert collapsed(run, engine.family.placeholders["image"]) == ids
    again = real.post(CHAT, json=body | {"input_ids": run}).json()  # ids as run are ids to send: the next turn's prefix
    assert again["choices"][0] == answer["choices"][0]


def test_ids_and_messages_that_render_to_them_give_the_same_answer(real: httpx2.Client, uri: Any) -> None:
    asked = {"max_tokens": 6, "logprobs": True, "return_prompt_token_ids": True, "messages": [user(uri, (153, 174))]}
    rendered = real.post(CHAT, json=asked).json()["choices"][0]
    sent = real.post(CHAT, json=asked | {"input_ids": rendered["prompt_token_ids"]}).json()["choices"][0]
    assert sent == rendered


def test_input_ids_need_no_messages(real: httpx2.Client, engine: Engine) -> None:
    ids = drifting(engine, 0)
    body = {"input_ids": ids, "max_tokens": 3, "ignore_eos": True, "return_meta_info": True}
    meta = real.post(CHAT, json=body).json()["choices"][0]["meta_info"]
    sampling = {"max_new_tokens": 3, "ignore_eos": True}
    native = real.post("/generate", json={"input_ids": ids, "sampling_params": sampling}).json()
    assert meta["output_ids"] == native["output_ids"]
    assert set(meta) - set(native["meta_info"]) == {"output_ids"}
    assert (meta["prompt_tokens"], meta["completion_tokens"]) == (len(ids), 3)
    assert meta["finish_reason"] == native["meta_info"]["finish_reason"]


def test_meta_info_carries_log_probabilities_with_their_ids(real: httpx2.Client, engine: Engine) -> None:
    body = {"input_ids": drifting(engine, 0), "max_tokens": 3, "logprobs": True, "return_meta_info": True}
    [choice] = real.post(CHAT, json=body).json()["choices"]
    listed = choice["meta_info"]["output_token_logprobs"]
    assert [token for _, token, _ in listed] == choice["meta_info"]["output_ids"]
    assert [logprob for logprob, _, _ in listed] == [entry["logprob"] for entry in choice["logprobs"]["content"]]


@pytest.mark.parametrize("asked", [set(), {"return_prompt_token_ids"}, {"return_meta_info"}, NEW])
def test_what_was_not_asked_for_is_absent(client: httpx2.Client, asked: set[str]) -> None:
    body = {"messages": [{"role": "user", "content": "a"}], "max_tokens": 2} | dict.fromkeys(asked, True)
    [choice] = client.post(CHAT, json=body).json()["choices"]
    assert set(choice) & {"prompt_token_ids", "meta_info"} == {name.removeprefix("return_") for name in asked}


@pytest.mark.parametrize("name", sorted(NEW))
def test_a_stream_refuses_them_and_says_what_to_do(client: httpx2.Client, name: str) -> None:
    body = {"messages": [{"role": "user", "content": "a"}], "stream": True, name: True}
    answer = client.post(CHAT, json=body)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["param"] == name
    assert "set stream to false" in error["message"]
    assert client.post(CHAT, json=body | {name: False}).status_code == 200


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": None}, "messages"),
        ({"input_ids": []}, "input_ids"),
        ({"input_ids": [1, 999]}, "input_ids[1]"),
        ({"input_ids": [1, "2"]}, "input_ids[1]"),
        ({"input_ids": [[1]]}, "input_ids[0]"),
    ],
)
def test_bad_ids_are_named_as_they_were_sent(client: httpx2.Client, body: dict[str, Any], param: str) -> None:
    answer = client.post(CHAT, json=body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


def test_generate_tells_the_ids_of_every_prompt_of_a_list(real: httpx2.Client, engine: Engine, uri: Any) -> None:
    picture = uri(Image.new("RGB", (84, 56)))
    ids = [drifting(engine, 0), drifting(engine, 1)]
    body = {"input_ids": ids, "image_data": [None, [picture]], "sampling_params": {"max_new_tokens": 2}}
    plain, asked = (real.post("/generate", json=body | {"return_prompt_token_ids": on}).json() for on in (False, True))
    assert all("prompt_token_ids" not in answer["meta_info"] for answer in plain)
    found = [answer["meta_info"]["prompt_token_ids"] for answer in asked]
    assert [collapsed(run, engine.family.placeholders["image"]) for run in found] == ids
    assert [len(run) for run in found] == [answer["meta_info"]["prompt_tokens"] for answer in asked]
    *_, last = real.post("/generate", json=body | {"return_prompt_token_ids": True, "stream": True}).iter_lines()
    assert last == "" or "[DONE]" in last


@pytest.mark.parametrize(("plant", "told"), [("F3-03", "ids"), ("null-fields", "absent")])
def test_planted_faults_show(model: Path, serve: Callable[..., Any], caplog: Any, plant: str, told: str) -> None:
    with caplog.at_level(logging.CRITICAL):
        planted = Engine(EngineConfig(model=str(model), num_blocks=64, plant=plant))
    ids = drifting(planted, 0)
    body = {"messages": [{"role": "user", "content": "a"}], "input_ids": ids, "max_tokens": 1}
    with serve(planted) as client:
        if told == "ids":
            answer = client.post(CHAT, json=body | {"return_prompt_token_ids": True}).json()
            assert answer["choices"][0]["prompt_token_ids"] != ids
        else:
            assert client.post(CHAT, json=body).json()["choices"][0]["meta_info"] is None


@pytest.fixture
def ids_only(model: Path, serve: Callable[..., Any]) -> Iterator[httpx2.Client]:
    with serve(Engine(EngineConfig(model=str(model), num_blocks=64, skip_tokenizer_init=True))) as client:
        yield client


def test_a_server_without_a_tokenizer_serves_ids_and_names_what_it_cannot(
    real: httpx2.Client, ids_only: httpx2.Client, engine: Engine, uri: Any
) -> None:
    ids, sampling = drifting(engine, 1), {"max_new_tokens": 5, "stop_token_ids": [7]}
    body = {"input_ids": ids, "image_data": uri(Image.new("RGB", (84, 56))), "sampling_params": sampling}
    native = ids_only.post("/generate", json=body).json()
    assert native["output_ids"] == real.post("/generate", json=body).json()["output_ids"]
    assert "text" not in native
    chat = {"input_ids": ids, "messages": [user(uri, (84, 56))], "max_tokens": 3, "logprobs": True}
    chat |= dict.fromkeys(NEW, True)
    [choice] = ids_only.post(CHAT, json=chat).json()["choices"]
    [expected] = real.post(CHAT, json=chat).json()["choices"]
    assert choice["message"] == {"role": "assistant", "content": None}
    assert choice["prompt_token_ids"] == expected["prompt_token_ids"]
    assert choice["meta_info"]["output_ids"] == expected["meta_info"]["output_ids"]
    assert [entry["token"] for entry in choice["logprobs"]["content"]] == [
        f"token_id:{token}" for token in choice["meta_info"]["output_ids"]
    ]
    completion = {"prompt": ids[:1], "max_tokens": 3, "logprobs": 1, "n": 2}
    first, second = ids_only.post("/v1/completions", json=completion).json()["choices"]
    assert first["text"] == second["text"] == ""
    assert [name.partition(":")[0] for name in first["logprobs"]["tokens"]] == ["token_id"] * 3
    assert ids_only.post("/predict", json={"input_ids": ids, "image_sizes": [[84, 56]]}).status_code == 200
    for path in ("/health", "/health_generate", "/metrics", "/server_info", "/v1/models"):
        assert ids_only.get(path).status_code == 200
    refused = [
        ("/generate", {"text": "a"}, "text"),
        ("/generate", {"text": ["a"]}, "text[0]"),
        ("/generate", {"input_ids": [5], "sampling_params": {"stop": "x"}}, "sampling_params.stop"),
        (CHAT, {"messages": [{"role": "user", "content": "a"}]}, "messages"),
        (CHAT, {"input_ids": [5], "stop": "x"}, "stop"),
        ("/generate", {"messages": [{"role": "user", "content": "a"}]}, "messages"),
        ("/v1/completions", {"prompt": "a"}, "prompt"),
        ("/v1/completions", {"prompt": [5], "stop": ["x"]}, "stop"),
        ("/v1/completions", {"prompt": [5], "echo": True}, "echo"),
        ("/predict", {"text": "a"}, "text"),
        ("/tokenize", {"prompt": "a"}, "prompt"),
        ("/tokenize", {"messages": [{"role": "user", "content": "a"}]}, "messages"),
        ("/detokenize", {"tokens": [5]}, "tokens"),
    ]
    for path, wrong, param in refused:
        answer = ids_only.post(path, json=wrong)
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
        assert "skip_tokenizer_init" in answer.json()["error"]["message"]
