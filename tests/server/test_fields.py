"""Every declared field survives every way in: single, in a batch, with several choices, on every endpoint (invariant
9; sglang#27216: a sub-request rebuilt from a list of known fields lost the others).
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields, replace
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from reference_engine import Request, SamplingParams
from reference_engine.request import Video
from reference_engine.server.chat import ChatPrompts
from reference_engine.server.completions import read_completions
from reference_engine.server.field_types import SAMPLING_FIELDS
from reference_engine.server.limits import Limits
from reference_engine.server.native import read_generate
from reference_engine.server.openai import read_chat
from reference_engine.server.protocol import OPENAI_NAMES
from tests.server.conftest import data_uri

LIMITS = Limits()
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
    "json_schema": st.just('{"type": "null"}'), "regex": st.just("a+"),
}  # fmt: skip
sampling = st.fixed_dictionaries({}, optional=SAMPLING)
WISHES: dict[str, tuple[str, str]] = {
    "want_evidence": ("return_evidence", "return_evidence"), "want_logprobs": ("return_logprob", "logprobs"),
    "top_logprobs": ("top_logprobs_num", "top_logprobs"), "logprob_start": ("logprob_start_len", "logprob_start_len"),
}  # fmt: skip
"""Fields of a request beside its prompt and sampling: their names in ``/generate`` and in a chat."""
wishes = st.fixed_dictionaries(
    {
        "want_evidence": st.booleans(),
        "want_logprobs": st.just(True),
        "top_logprobs": st.integers(0, 9),
        "logprob_start": st.integers(0, 2),
    }
)


@dataclass
class Sent:
    """Media as a client sends them, and as a request holds them."""

    uris: list[str]
    images: list[Image.Image]
    clips: list[dict[str, Any]]
    videos: list[Video]

    @property
    def parts(self) -> list[dict[str, Any]]:
        images = [{"type": "image_url", "image_url": {"url": uri}} for uri in self.uris]
        return images + [{"type": "video", "video": clip["frames"], "fps": clip["fps"]} for clip in self.clips]


colours = st.tuples(*[st.integers(0, 255)] * 3)


def made(images: list[tuple[int, int, int]], videos: list[tuple[list[tuple[int, int, int]], float | None]]) -> Sent:
    pictures = [Image.new("RGB", (2, 3), colour) for colour in images]
    clips = [Video([Image.new("RGB", (3, 2), colour) for colour in frames], fps) for frames, fps in videos]
    sent = [{"frames": [data_uri(frame) for frame in clip.frames], "fps": clip.fps} for clip in clips]
    return Sent([data_uri(picture) for picture in pictures], pictures, sent, clips)


media = st.builds(
    made,
    st.lists(colours, max_size=2),
    st.lists(st.tuples(st.lists(colours, min_size=1, max_size=2), st.none() | st.floats(0.1, 60)), max_size=2),
)


def same(request: Request, expected: Request) -> bool:
    return plain(request) == plain(expected)


def plain(request: Request) -> Request:
    """With pixels in place of pictures: Pillow tells a picture that was read from a file from one that was made."""
    images: Any = [pixels(image) for image in request.images]
    videos = [replace(video, frames=[pixels(frame) for frame in video.frames]) for video in request.videos]
    return replace(request, request_id="", images=images, videos=videos)


def pixels(image: Image.Image) -> Any:
    return image.mode, image.size, image.tobytes()


def raw(body: dict[str, Any]) -> bytes:
    return json.dumps(body).encode()


def test_the_tables_name_every_field() -> None:
    assert set(SAMPLING) == set(SAMPLING_FIELDS)
    prompt = {"request_id", "text", "input_ids", "images", "videos", "processor_output", "sampling"}
    assert set(WISHES) | prompt == {f.name for f in fields(Request)}


@SETTINGS
@given(st.lists(st.tuples(sampling, media), min_size=1, max_size=3), wishes)
def test_generate(echo: Any, prompts: list[tuple[dict[str, Any], Sent]], wanted: dict[str, Any]) -> None:
    given_wishes = {WISHES[name][0]: value for name, value in wanted.items()}
    expected = [
        Request(
            "", input_ids=[5, 6 + i], sampling=SamplingParams(**one), images=sent.images, videos=sent.videos, **wanted
        )
        for i, (one, sent) in enumerate(prompts)
    ]
    alone = [
        {
            "input_ids": [5, 6 + i],
            "sampling_params": one,
            "image_data": sent.uris,
            "video_data": sent.clips,
            "rid": f"r{i}",
        }
        for i, (one, sent) in enumerate(prompts)
    ]
    together = {name: [body[name] for body in alone] for name in alone[0]} | given_wishes
    prompter = ChatPrompts(echo.codec)
    batch = read_generate(raw(together), echo, prompter, LIMITS)
    assert [found.request.request_id for found in batch.prepared] == [body["rid"] for body in alone]
    for body, request, found in zip(alone, expected, batch.prepared, strict=True):
        assert same(read_generate(raw(body | given_wishes), echo, prompter, LIMITS).prepared[0].request, request)
        assert same(found.request, request)
        assert len(found.keys) == request.sampling.n


@SETTINGS
@given(sampling, st.booleans(), st.integers(0, 9))
def test_completions(echo: Any, params: dict[str, Any], evidence: bool, top: int) -> None:
    body = {OPENAI_NAMES.get(name, name): value for name, value in params.items()}
    body |= {"return_evidence": evidence, "logprobs": top}
    wanted: dict[str, Any] = {"want_evidence": evidence, "want_logprobs": True, "top_logprobs": top}
    together = read_completions(raw(body | {"prompt": [[5], [6, 7]], "rid": ["a", "b"]}), echo, 9)
    assert [found.request.request_id for found in together.prepared] == ["a", "b"]
    for ids, found in zip(([5], [6, 7]), together.prepared, strict=True):
        assert same(found.request, Request("", input_ids=ids, sampling=SamplingParams(**params), **wanted))
    [alone] = read_completions(raw(body | {"prompt": "hi"}), echo, 9).prepared
    assert same(alone.request, Request("", text="hi", sampling=SamplingParams(**params), **wanted))


@SETTINGS
@given(sampling, media, st.booleans(), wishes)
def test_chat(echo: Any, params: dict[str, Any], sent: Sent, with_ids: bool, wanted: dict[str, Any]) -> None:
    body = {OPENAI_NAMES.get(name, name): value for name, value in params.items()}
    body |= {WISHES[name][1]: value for name, value in wanted.items()}
    content = [*sent.parts, {"type": "text", "text": "hi"}]
    body |= {"messages": [{"role": "user", "content": content}], "return_meta_info": True, "rid": "mine"}
    call = read_chat(raw(body | ({"input_ids": [5, 6]} if with_ids else {})), echo, ChatPrompts(echo.codec), LIMITS)
    found = call.prepared[0].request
    assert found.request_id == "mine"
    ids = [5, 6] if with_ids else found.input_ids
    request = Request(
        "", input_ids=ids, sampling=SamplingParams(**params), images=sent.images, videos=sent.videos, **wanted
    )
    assert same(found, request)
    assert len(call.prepared[0].keys) == params.get("n", 1)


@SETTINGS
@given(st.lists(st.tuples(sampling, media), min_size=1, max_size=3), wishes)
def test_chats_on_generate(echo: Any, prompts: list[tuple[dict[str, Any], Sent]], wanted: dict[str, Any]) -> None:
    """The same prompt, media and parameters as on the chat endpoint, alone and in a list."""
    prompter = ChatPrompts(echo.codec)
    chats = [[{"role": "user", "content": [*sent.parts, {"type": "text", "text": "hi"}]}] for _, sent in prompts]
    given_wishes = {WISHES[name][0]: value for name, value in wanted.items()}
    params = [one for one, _ in prompts]
    body = {"messages": chats, "sampling_params": params} | given_wishes
    together = read_generate(raw(body), echo, prompter, LIMITS)
    chat_wishes = {WISHES[name][1]: value for name, value in wanted.items()} | {"return_meta_info": True}
    for messages, one, found in zip(chats, params, together.prepared, strict=True):
        named = {OPENAI_NAMES.get(name, name): value for name, value in one.items()}
        chat = read_chat(raw(named | chat_wishes | {"messages": messages}), echo, prompter, LIMITS)
        alone = read_generate(
            raw({"messages": messages, "sampling_params": one} | given_wishes), echo, prompter, LIMITS
        )
        assert same(found.request, chat.prepared[0].request)
        assert same(alone.prepared[0].request, chat.prepared[0].request)
