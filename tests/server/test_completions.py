"""``/v1/completions`` over the small engine: prompts of both kinds, choices, log-probabilities, streams, refusals."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import pytest

Client = httpx2.Client
PATH = "/v1/completions"


def ask(client: Client, **body: Any) -> Any:
    answer = client.post(PATH, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def events(client: Client, **body: Any) -> list[Any]:
    with client.stream("POST", PATH, json=body | {"stream": True}) as answer:
        lines = [line.removeprefix("data: ") for line in answer.iter_lines() if line]
    assert lines.pop() == "[DONE]"
    return [json.loads(line) for line in lines]


def test_text_and_ids_alone_and_in_lists(client: Client) -> None:
    whole = ask(client, prompt="abc", model="echo")
    assert whole["object"] == "text_completion"
    assert whole["choices"] == [{"index": 0, "text": "abc", "logprobs": None, "finish_reason": "length"}]
    assert whole["usage"] == {"prompt_tokens": 3, "completion_tokens": 3, "total_tokens": 6}
    assert [c["text"] for c in ask(client, prompt=["ab", "c"])["choices"]] == ["ab", "c"]
    [one] = ask(client, prompt=[65, 66])["choices"]
    two = ask(client, prompt=[[65, 66], [67]])
    assert two["choices"][0]["text"] == one["text"]
    assert two["usage"] == {"prompt_tokens": 3, "completion_tokens": 3, "total_tokens": 6}


def test_choices_of_a_list_count_their_prompt_once(client: Client) -> None:
    found = ask(client, prompt=["ab", "fail now"], n=2)
    assert [(c["index"], c["text"], c["finish_reason"]) for c in found["choices"]] == [
        (0, "ab", "length"), (1, "ab", "length"), (2, "fail now", "length"), (3, "fai", "error"),
    ]  # fmt: skip
    assert found["choices"][3]["error"]["code"] == 500
    assert found["usage"] == {"prompt_tokens": 10, "completion_tokens": 15, "total_tokens": 25}
    alone = client.post(PATH, json={"prompt": "fail now"})
    assert (alone.status_code, alone.json()["error"]["message"]) == (500, "image_data[0]: failed as asked")


def test_logprobs_are_four_lists_of_one_length(client: Client) -> None:
    logprobs = ask(client, prompt="hé!", logprobs=2)["choices"][0]["logprobs"]
    assert logprobs["tokens"] == ["h", "\ufffd", "\ufffd", "!"]
    assert logprobs["token_logprobs"] == [-0.5] * 4
    assert [list(top.items()) for top in logprobs["top_logprobs"]] == [
        [("(", -0.25), (")", -1.0), (token, -0.5)] for token in logprobs["tokens"]
    ]
    assert logprobs["text_offset"] == [0, 1, 1, 2]
    assert ask(client, prompt="a", logprobs=0)["choices"][0]["logprobs"]["tokens"] == ["a"]


def test_a_stream_joins_to_the_answer(client: Client) -> None:
    body: dict[str, Any] = {"prompt": ["héllo", "xy"], "n": 2, "logprobs": 1}
    whole = ask(client, **body)
    *chunks, usage = events(client, **body, stream_options={"include_usage": True})
    assert (usage["choices"], usage["usage"]) == ([], whole["usage"])
    for choice in whole["choices"]:
        own = [c["choices"][0] for c in chunks if c["choices"][0]["index"] == choice["index"]]
        assert "".join(c["text"] for c in own) == choice["text"]
        assert [c["finish_reason"] for c in own] == [None] * (len(own) - 1) + [choice["finish_reason"]]
        for name, values in choice["logprobs"].items():
            assert [value for c in own for value in c["logprobs"][name]] == values


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({}, 400, "prompt"),
        ({"prompt": []}, 400, "prompt"),
        ({"prompt": ["a"] * 5}, 400, "prompt"),
        ({"prompt": [5, "a"]}, 400, "prompt[1]"),
        ({"prompt": [[5], 5]}, 400, "prompt[1]"),
        ({"prompt": [5, 999]}, 400, "prompt[1]"),
        ({"prompt": [[5], [5, 999]]}, 400, "prompt[1][1]"),
        ({"prompt": ["a", ""]}, 400, "prompt[1]"),
        ({"prompt": "a", "echo": True, "stream": True}, 400, "echo"),
        ({"prompt": "a", "return_meta_info": True, "stream": True}, 400, "return_meta_info"),
        ({"prompt": "a", "return_prompt_token_ids": True, "stream": True}, 400, "return_prompt_token_ids"),
        ({"prompt": "a", "best_of": 2}, 400, "best_of"),
        ({"prompt": "a", "model": "other"}, 404, "model"),
        ({"prompt": "a", "logprobs": 101}, 400, "logprobs"),
        ({"prompt": "a", "image_data": []}, 400, "image_data"),
    ],
)
def test_what_is_wrong_is_named_as_it_was_sent(client: Client, body: Any, status: int, param: str) -> None:
    answer = client.post(PATH, json=body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (status, param), answer.text


def test_an_echo_is_the_prompt_with_its_log_probabilities_before_every_answer(client: Client) -> None:
    text = "h\u00e9<|role|>!"
    alone = ask(client, prompt=text, logprobs=2)["choices"][0]
    for choice in ask(client, prompt=[text, "x"], echo=True, logprobs=2, n=2)["choices"][:2]:
        assert choice["text"] == text + alone["text"]
        logprobs = choice["logprobs"]
        assert logprobs["tokens"] == ["h", "\ufffd", "\ufffd", "<|role|>", "!", *alone["logprobs"]["tokens"]]
        assert logprobs["token_logprobs"] == [None] + [-0.5] * 9
        assert logprobs["top_logprobs"][0] is None
        assert logprobs["top_logprobs"][5:] == alone["logprobs"]["top_logprobs"]
        assert logprobs["text_offset"][:6] == [0, 1, 1, 2, 10, 11]
        assert logprobs["text_offset"][5:] == [11 + offset for offset in alone["logprobs"]["text_offset"]]
    ids = client.post("/tokenize", json={"prompt": text}).json()["tokens"]
    assert ask(client, prompt=ids, echo=True)["choices"][0]["text"] == text + alone["text"]
    assert ask(client, prompt=text, echo=True)["choices"][0]["logprobs"] is None


def test_ids_and_meta_are_told_of_every_choice_of_every_prompt(client: Client) -> None:
    body = {"prompt": [[65, 66], [67]], "n": 2, "return_prompt_token_ids": True, "return_meta_info": True}
    choices = ask(client, **body)["choices"]
    assert [choice["prompt_token_ids"] for choice in choices] == [[65, 66], [65, 66], [67], [67]]
    assert [choice["meta_info"]["output_ids"] for choice in choices] == [[65, 66], [65, 66], [67], [67]]
    assert [choice["meta_info"]["prompt_tokens"] for choice in choices] == [2, 2, 1, 1]
    plain = ask(client, prompt=[[65, 66], [67]])["choices"]
    assert all(set(choice) == {"index", "text", "logprobs", "finish_reason"} for choice in plain)
