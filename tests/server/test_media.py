"""Videos over HTTP: frames however they were sent, on every endpoint, as the engine itself runs them."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import pytest
from PIL import Image

from reference_engine import Engine, EngineConfig, Request, RequestError, SamplingParams
from reference_engine.request import Video
from reference_engine.server.images import Pictures
from reference_engine.server.media import read_frames

CHAT = "/v1/chat/completions"
SLOTS = {
    "random-qwen3-vl": "<|vision_start|><|video_pad|><|vision_end|>",
    "random-glm4v": "<|begin_of_video|><|video|><|end_of_video|>",
}
SAMPLING = SamplingParams(max_new_tokens=3, ignore_eos=True)
Uri = Callable[..., str]


def frame(number: int, size: tuple[int, int] = (84, 56)) -> Image.Image:
    image = Image.new("RGB", (3, 2))
    image.putdata([((number * 67 + i * 41) % 256, (number * 29 + i * 83) % 256, i * 40) for i in range(6)])
    return image.resize(size, Image.Resampling.NEAREST)


FRAMES = [frame(i) for i in range(5)]


def animated(kind: str, frames: list[Image.Image], **options: Any) -> str:
    buffer = io.BytesIO()
    frames[0].save(buffer, kind, save_all=True, append_images=frames[1:], **options)
    return base64.b64encode(buffer.getvalue()).decode()


def read(frames: Any, **limits: Any) -> list[Image.Image]:
    config = EngineConfig(
        max_video_frames=limits.get("max_frames", 8), max_image_pixels=limits.get("max_pixels", 10_000)
    )
    return read_frames(frames, "video_data[3].frames", Pictures(config))


def refusal(frames: Any, **limits: Any) -> RequestError:
    with pytest.raises(RequestError) as caught:
        read(frames, **limits)
    return caught.value


@pytest.mark.parametrize(("kind", "options"), [("png", {}), ("webp", {"lossless": True}), ("gif", {})])
def test_an_animated_image_gives_its_frames(uri: Uri, kind: str, options: dict[str, Any]) -> None:
    plain = [Image.new("RGB", (4, 4), (i * 51, 0, 255 - i * 51)) for i in range(5)]
    data = animated(kind, plain, **options)
    for sent in (data, f"data:image/{kind};base64,{data}"):
        assert [found.tobytes() for found in read(sent)] == [one.tobytes() for one in plain]


def test_a_list_and_vllms_uri_give_the_same_frames(uri: Uri) -> None:
    sources = [uri(one, "jpeg") for one in FRAMES]
    joined = "data:video/jpeg;base64," + ",".join(source.partition(",")[2] for source in sources)
    assert [one.tobytes() for one in read(joined)] == [one.tobytes() for one in read(sources)]


def test_what_is_wrong_with_frames_is_named(uri: Uri) -> None:
    good, many = uri(frame(0)), animated("png", [frame(i, (4, 4)) for i in range(9)])
    cases: list[tuple[Any, int, str, str]] = [
        ([], 400, "", "0 frames; from 1 to 8"),
        ([good] * 9, 413, "", "9 frames; from 1 to 8"),
        (many, 413, "", "9 frames; from 1 to 8"),
        (animated("gif", [frame(i, (4, 4)) for i in range(9)]), 413, "", "more than 8 frames"),
        ("data:video/jpeg;base64," + ",".join(["aGk="] * 9), 413, "", "9 frames; from 1 to 8"),
        ("data:video/jpeg;base64,aGk=,", 400, "", "not an image"),
        ([good, "aGk="], 400, "[1]", "not an image"),
        ([good, uri(frame(0, (200, 200)))], 413, "[1]", "at most 10000"),
        ("data:video/mp4;base64,aGk=", 400, "", "video/mp4 is not decoded here; send the frames"),
        ("data:video/;base64,aGk=", 400, "", "is not decoded here"),
        ("aGk=", 400, "", "not an image of GIF, PNG, WEBP"),
        (animated("gif", FRAMES)[:400], 400, "", ""),
        (animated("webp", FRAMES)[:80], 400, "", ""),
        (animated("png", FRAMES)[:-400], 400, "", ""),
        (animated("png", [frame(0, (200, 200))] * 2), 413, "", "at most 10000"),
    ]
    for sent, status, where, says in cases:
        error = refusal(sent)
        assert (error.status, error.field) == (status, f"video_data[3].frames{where}"), error
        assert says in error.message


@pytest.fixture(scope="module", params=sorted(SLOTS))
def engine(request: pytest.FixtureRequest) -> Engine:
    return Engine(EngineConfig(model=request.param, num_blocks=256, max_videos=2, max_video_frames=8))


@pytest.fixture
def client(engine: Engine, serve: Callable[..., Any]) -> Iterator[httpx2.Client]:
    with serve(engine) as client:
        yield client


def test_every_way_in_runs_what_the_engine_runs(client: httpx2.Client, engine: Engine, uri: Uri) -> None:
    text = f"<|im_start|>user\n{SLOTS[engine.config.model]}what<|im_end|>\n<|im_start|>assistant\n"
    request = Request("a", text=text, videos=[Video(FRAMES, 2.0)], sampling=SAMPLING, want_evidence=True)
    [expected] = engine.generate([request])
    assert expected.evidence is not None
    ids = engine.codec.encode(text)
    sources = [uri(one) for one in FRAMES]
    clip = {"frames": sources, "fps": 2.0}
    native = {"sampling_params": {"max_new_tokens": 3, "ignore_eos": True}, "return_prompt_token_ids": True}
    for one in (
        {"text": text, "video_data": clip},
        {"text": text, "video_data": [clip]},
        {"input_ids": ids, "video_data": [{"frames": animated("png", FRAMES), "fps": 2}]},
        {"input_ids": expected.evidence.prompt_ids, "video_data": clip},
    ):
        answer = client.post("/generate", json=one | native).json()
        assert answer["output_ids"] == expected.output_ids
        assert answer["meta_info"]["prompt_token_ids"] == expected.evidence.prompt_ids
    both = {"text": [text, "no video"], "video_data": [[clip], None]}
    first, _ = client.post("/generate", json=both | native).json()
    assert first["output_ids"] == expected.output_ids
    video = {"type": "video", "video": sources, "fps": 2.0}
    whole = {"type": "video_url", "video_url": {"url": "data:image/png;base64," + animated("png", FRAMES)}, "fps": 2.0}
    for part in (video, whole):
        chat = {"messages": [{"role": "user", "content": [part, {"type": "text", "text": "what"}]}]}
        for extra in ({}, {"input_ids": ids}):
            wanted = {"max_tokens": 3, "ignore_eos": True, "return_prompt_token_ids": True, "return_meta_info": True}
            [choice] = client.post(CHAT, json=chat | extra | wanted).json()["choices"]
            assert choice["prompt_token_ids"] == expected.evidence.prompt_ids
            assert choice["meta_info"]["output_ids"] == expected.output_ids


def test_a_prediction_needs_a_videos_size_only(client: httpx2.Client, engine: Engine, uri: Uri) -> None:
    text = f"{SLOTS[engine.config.model]}what"
    sent = {"text": text, "video_data": {"frames": [uri(one) for one in FRAMES], "fps": 2.0}}
    expected = client.post("/predict", json=sent).json()
    assert expected["items"][0]["modality"] == "video"
    assert client.post("/predict", json={"text": text, "video_sizes": [[84, 56, 5, 2.0]]}).json() == expected
    chat = {"messages": [{"role": "user", "content": [{"type": "video", "video": []}]}], "input_ids": [5]}
    ids = engine.codec.encode(text)
    found = client.post("/predict", json=chat | {"input_ids": ids, "video_sizes": [[84, 56, 5, 2]]}).json()
    assert found | {"placement": ""} == expected | {"placement": ""}
    wrong: list[tuple[Any, int, str]] = [
        ([[84, 56]], 400, "video_sizes[0]"),
        ([[84, 56, 5, -1]], 400, "video_sizes[0]"),
        ([[84, 56, 9, 1]], 413, "video_sizes[0]"),
        ([[84, 56, 0, 1]], 400, "video_sizes[0]"),
        ([[84, 0, 5, 1]], 400, "video_sizes[0]"),
        ([[84, 56, 5, 1]] * 3, 413, "video_sizes"),
    ]
    for sizes, status, param in wrong:
        answer = client.post("/predict", json={"text": text, "video_sizes": sizes})
        assert (answer.status_code, answer.json()["error"]["param"]) == (status, param)


def test_refusals_name_the_video(client: httpx2.Client, engine: Engine, uri: Uri) -> None:
    slot, sources = SLOTS[engine.config.model], [uri(one) for one in FRAMES]
    clip = {"frames": sources, "fps": 2.0}
    odd = {"frames": [*sources, uri(frame(0, (56, 56)))], "fps": 2.0}
    at = "messages[0].content[0]"
    cases: list[tuple[str, dict[str, Any], int, str]] = [
        ("/generate", {"text": slot, "video_data": [clip] * 3}, 413, "video_data"),
        ("/generate", {"text": slot, "video_data": odd}, 400, "video_data[0].frames"),
        ("/generate", {"text": slot, "video_data": [clip, clip]}, 422, "text"),
        (
            "/generate",
            {"text": ["a", slot], "video_data": [None, [{"frames": ["!"]}]]},
            400,
            "video_data[1][0].frames[0]",
        ),
        (CHAT, {"messages": user({"type": "video", "video": [*sources, "!"]})}, 400, f"{at}.video[5]"),
        (CHAT, {"messages": user({"type": "video", "video": odd["frames"], "fps": 2.0})}, 400, f"{at}.video"),
        (CHAT, {"messages": user({"type": "video_url", "video_url": {"url": "!"}})}, 400, f"{at}.video_url.url"),
    ]
    for path, body, status, param in cases:
        answer = client.post(path, json=body)
        assert (answer.status_code, answer.json()["error"]["param"]) == (status, param), answer.text


def user(*parts: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"role": "user", "content": list(parts)}]


def test_a_family_without_videos_refuses_them_by_name(serve: Callable[..., Any], uri: Uri) -> None:
    with serve(Engine(EngineConfig(model="sentinel-idefics3", num_blocks=64))) as client:
        clip = [uri(frame(0))]
        chat = {"messages": user({"type": "video", "video": clip}, {"type": "text", "text": "a"})}
        for path, body, param in (
            ("/generate", {"text": "a", "video_data": {"frames": clip}}, "video_data"),
            ("/predict", {"text": "a", "video_data": {"frames": clip}}, "video_data"),
            (CHAT, chat, "messages"),
        ):
            answer = client.post(path, json=body)
            assert (answer.status_code, answer.json()["error"]["param"]) == (422, param)
            assert "takes no videos" in answer.json()["error"]["message"]
