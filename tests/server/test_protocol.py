from __future__ import annotations

import json
from typing import Any

import pytest

from reference_engine import RequestError, SamplingParams
from reference_engine.server.errors import field_name
from reference_engine.server.field_types import SAMPLING_FIELDS, read
from reference_engine.server.native import spread
from reference_engine.server.openai import chat_sampling
from reference_engine.server.protocol import OPENAI_NAMES, ChatBody, GenerateBody

OTHER = {
    "max_new_tokens": 7, "min_new_tokens": 2, "temperature": 0.5, "top_p": 0.25, "top_k": 3, "min_p": 0.125,
    "repetition_penalty": 1.5, "presence_penalty": -1.0, "frequency_penalty": 0.75, "logit_bias": {5: -1.5, 77: 100.0},
    "seed": 11, "n": 3, "stop": ("x", "y"), "stop_token_ids": (4, 5), "no_stop_trim": True, "ignore_eos": True,
    "json_schema": '{"type": "null"}', "regex": "a+",
}  # fmt: skip
MESSAGES = [{"role": "user", "content": "hello"}]


def generate(**fields: Any) -> GenerateBody:
    return read(GenerateBody, json.dumps({"text": "a"} | fields).encode())


def refusal(model: Any, body: Any) -> RequestError:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    with pytest.raises(RequestError) as caught:
        read(model, raw)
    assert caught.value.status == 400
    return caught.value


def test_the_table_of_values_covers_every_field_and_no_default() -> None:
    assert set(OTHER) == set(SAMPLING_FIELDS)
    assert all(getattr(SamplingParams(), name) != value for name, value in OTHER.items())


@pytest.mark.parametrize("name", SAMPLING_FIELDS)
def test_every_sampling_field_survives_every_way_in(name: str) -> None:
    wanted = SamplingParams(**{name: OTHER[name]})
    [single] = spread(generate(sampling_params={name: OTHER[name]}), 9)
    shared = spread(generate(text=["a", "b"], sampling_params={name: OTHER[name]}), 9)
    first, second = spread(generate(text=["a", "b"], sampling_params=[{name: OTHER[name]}, {}]), 9)
    chat_body = {"messages": MESSAGES, OPENAI_NAMES.get(name, name): OTHER[name]}
    chat = chat_sampling(read(ChatBody, json.dumps(chat_body).encode()))
    assert single.sampling == shared[0].sampling == shared[1].sampling == first.sampling == chat == wanted
    assert second.sampling == SamplingParams()


def test_null_is_not_given_and_one_stop_string_is_a_list_of_one() -> None:
    nulls = dict.fromkeys(SAMPLING_FIELDS)
    assert spread(generate(sampling_params=nulls, image_data=None), 9)[0].sampling == SamplingParams()
    assert spread(generate(sampling_params={"stop": "end"}), 9)[0].sampling.stop == ("end",)


@pytest.mark.parametrize(
    ("body", "field", "says"),
    [
        ({"text": "a", "foo": 1}, "foo", "unknown field; known: image_data"),
        ({"text": "a", "sampling_params": {"max_tokens": 1}}, "sampling_params.max_tokens", "unknown field"),
        ({"text": "a", "sampling_params": {"bogus": None}}, "sampling_params.bogus", "unknown field"),
        ({"text": "a", "sampling_params": {"max_new_tokens": "7"}}, "sampling_params.max_new_tokens", "not '7'"),
        ({"text": "a", "sampling_params": {"max_new_tokens": True}}, "sampling_params.max_new_tokens", "integer"),
        ({"text": ["a"], "sampling_params": [{"stop": [1]}]}, "sampling_params[0].stop[0]", "string, not 1"),
        ({"input_ids": [1, "2"]}, "input_ids[1]", "integer, not '2'"),
        ({"input_ids": [1, 2.5]}, "input_ids[1]", "integer"),
        ({"input_ids": [[1], 2]}, "input_ids[1]", "array, not 2"),
        ({"input_ids": "12"}, "input_ids", "array, not '12'"),
        ({"text": 3}, "text", "string, not 3"),
        ({"text": "a", "image_data": {"url": "x"}}, "image_data", "string"),
        ({"text": "a", "image_data": ["x", 3]}, "image_data[1]", "string, not 3"),
        ({"text": "a", "video_data": "x"}, "video_data", "not 'x'"),
        ({"text": "a", "video_data": {"frames": 3}}, "video_data.frames", "string, not 3"),
        ({"text": "a", "video_data": [{"frames": "x", "fps": 0}]}, "video_data[0].fps", "greater than 0, not 0"),
        ({"text": "a", "stream": "yes"}, "stream", "boolean, not 'yes'"),
        ([], "body", "object"),
        (b"", "body", "JSON"),
        (b'{"text": "a"', "body", "JSON"),
        (b'{"text": "\xff"}', "body", "JSON"),
        (b'{"text": "\\ud800"}', "body", "JSON"),
        (b'{"text": ' + b"[" * 100_000, "body", "JSON"),
    ],
)
def test_a_bad_generate_body_names_the_field(body: Any, field: str, says: str) -> None:
    error = refusal(GenerateBody, body)
    assert error.field == field
    assert says in error.message


@pytest.mark.parametrize(
    ("body", "field", "says"),
    [
        ({"messages": MESSAGES, "top_k": 10**30}, "top_k", "less than"),
        ({"messages": MESSAGES, "best_of": 1}, "best_of", "unknown field; known: frequency_penalty"),
        ({"messages": MESSAGES, "logit_bias": {"x": 1}}, "logit_bias.x", "valid integer"),
        ({"messages": MESSAGES, "logit_bias": {"5": "1"}}, "logit_bias.5", "valid number, not '1'"),
        ({"messages": MESSAGES, "min_new_tokens": 1}, "min_new_tokens", "unknown field"),
        ({"messages": MESSAGES, "n": "2"}, "n", "integer, not '2'"),
        ({"messages": [{"role": "wizard", "content": "a"}]}, "messages[0].role", "not 'wizard'"),
        ({"messages": [{"role": "user", "content": 3}]}, "messages[0].content", "string"),
        ({"messages": [{"role": "user", "content": [{"type": "audio"}]}]}, "messages[0].content[0]", "A part is"),
        ({"messages": [{"role": "user", "content": [{"type": "video"}]}]}, "messages[0].content[0].video", "required"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text", "required"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}]},
            "messages[0].content[0].image_url",
            "object",
        ),
        ({"messages": MESSAGES, "stream_options": {"include": True}}, "stream_options.include", "unknown field"),
    ],
)
def test_a_bad_chat_body_names_the_field(body: Any, field: str, says: str) -> None:
    error = refusal(ChatBody, body)
    assert error.field == field
    assert says in error.message


def test_long_values_are_not_repeated() -> None:
    error = refusal(GenerateBody, {"text": "a", "return_evidence": "A" * 5000})
    assert "AAAA" not in str(error)
    assert "a long str was sent" in str(error)


def test_a_field_name_is_spelled_as_in_json() -> None:
    assert field_name(("messages", 0, ":list", "content", 2, ":text", "text")) == "messages[0].content[2].text"


def test_prompts_of_a_list_get_their_own_images_and_know_their_place() -> None:
    first, second = spread(generate(text=["a", "b"], image_data=[None, ["u", "v"]]), 9)
    assert (first.text, first.media.images, second.text, second.media.images) == ("a", [], "b", ["u", "v"])
    assert second.named("image_data[1]") == "image_data[1][1]"
    assert second.named("text") == "text[1]"
    assert second.named("sampling_params.top_k") == "sampling_params.top_k"
    [single] = spread(generate(image_data="u"), 9)
    assert single.media.images == ["u"]
    assert single.named("image_data[0]") == "image_data[0]"


@pytest.mark.parametrize(
    ("fields", "field", "says"),
    [
        ({"text": None}, "text, input_ids, messages", "exactly one"),
        ({"input_ids": [1]}, "text, input_ids, messages", "exactly one"),
        ({"text": []}, "text", "0 prompts; from 1 to 3"),
        ({"text": ["a"] * 4}, "text", "4 prompts; from 1 to 3"),
        ({"text": ["a", "b"], "image_data": ["u"]}, "image_data", "1 entries for 2 prompts"),
        ({"text": ["a", "b"], "image_data": "u"}, "image_data", "one value for 2 prompts"),
        ({"text": ["a", "b"], "sampling_params": [{}]}, "sampling_params", "1 entries for 2 prompts"),
        ({"sampling_params": [{}]}, "sampling_params", "one prompt"),
        ({"image_data": [["u"]]}, "image_data[0]", "not one image"),
        ({"image_data": [None]}, "image_data[0]", "not one image"),
        ({"video_data": [[{"frames": []}]]}, "video_data[0]", "not one video"),
        ({"text": ["a", "b"], "video_data": [None]}, "video_data", "1 entries for 2 prompts"),
    ],
)
def test_lists_that_do_not_fit_together_are_refused(fields: dict[str, Any], field: str, says: str) -> None:
    with pytest.raises(RequestError, match=says) as caught:
        spread(generate(**fields), 3)
    assert caught.value.field == field
