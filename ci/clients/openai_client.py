"""The official client: what it sends is understood, what it gets is what it expects. ``openai_client.py URL FOLDER``"""

import base64
import io
import sys

import openai
from PIL import Image
from pydantic import BaseModel

MODEL = "sentinel-qwen2.5-vl"
HELLO = [{"role": "user", "content": "hello"}]


class Reading(BaseModel):
    digit: bool
    colours: tuple[bool, bool]


def picture() -> dict[str, object]:
    buffer = io.BytesIO()
    Image.new("RGB", (84, 56), (200, 30, 60)).save(buffer, "png")
    url = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
    return {"type": "image_url", "image_url": {"url": url, "detail": "low"}}


def chat(client: openai.OpenAI) -> None:
    content = [picture(), {"type": "text", "text": "image1 row1 read"}]
    asked = {"model": MODEL, "messages": [{"role": "user", "content": content}], "max_tokens": 6, "seed": 3, "n": 2}
    asked |= {"temperature": 0.7, "logprobs": True, "top_logprobs": 2, "stop": ["\n\n"]}
    whole = client.chat.completions.create(**asked)
    assert [choice.index for choice in whole.choices] == [0, 1]
    assert whole.usage.completion_tokens == sum(len(choice.logprobs.content) for choice in whole.choices)
    texts, usage = {0: "", 1: ""}, None
    for chunk in client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}):
        usage = chunk.usage or usage
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
    assert texts == {choice.index: choice.message.content for choice in whole.choices}
    assert usage == whole.usage


def tokens_in_tokens_out(client: openai.OpenAI) -> None:
    told = {"return_prompt_token_ids": True, "return_meta_info": True}
    first = client.chat.completions.create(model=MODEL, messages=HELLO, max_tokens=4, extra_body=told).choices[0]
    ids = first.model_extra["prompt_token_ids"]
    again = client.chat.completions.create(
        model=MODEL, messages=HELLO, max_tokens=4, extra_body=told | {"input_ids": ids}
    )
    found = again.choices[0].model_extra
    assert found["prompt_token_ids"] == ids
    assert found["meta_info"]["output_ids"] == first.model_extra["meta_info"]["output_ids"]
    text = client.completions.create(model=MODEL, prompt=ids, max_tokens=4)
    assert text.choices[0].text == first.message.content


def completions(client: openai.OpenAI) -> None:
    both = client.completions.create(model=MODEL, prompt=["one", "two"], max_tokens=3, logprobs=1, echo=True)
    assert [choice.text[:3] for choice in both.choices] == ["one", "two"]
    assert both.choices[0].logprobs.token_logprobs[0] is None
    parts = client.completions.create(model=MODEL, prompt="one", max_tokens=3, stream=True)
    assert "one" + "".join(part.choices[0].text for part in parts) == both.choices[0].text


def structured(client: openai.OpenAI) -> None:
    made = client.chat.completions.parse(model=MODEL, messages=HELLO, response_format=Reading, max_tokens=60)
    assert isinstance(made.choices[0].message.parsed, Reading)


def refused(client: openai.OpenAI, **asked: object) -> openai.APIStatusError:
    try:
        client.chat.completions.create(**({"model": MODEL, "messages": HELLO} | asked))
    except openai.APIStatusError as error:
        return error
    raise AssertionError(f"{asked} was taken")


def refusals(client: openai.OpenAI) -> None:
    unknown, other = refused(client, store=True), refused(client, model="other")
    assert (unknown.status_code, unknown.param) == (400, "store")
    assert (other.status_code, other.param) == (404, "model")
    lenient = client.chat.completions.with_raw_response.create(
        model=MODEL, messages=HELLO, max_tokens=1, store=True, extra_headers={"x-unknown-fields": "ignore"}
    )
    assert lenient.headers["x-ignored-fields"] == "store"


def main(url: str) -> None:
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=60)
    assert [model.id for model in client.models.list()] == [MODEL]
    for check in (chat, tokens_in_tokens_out, completions, structured, refusals):
        check(client)


if __name__ == "__main__":
    main(sys.argv[1])
