"""Videos beside images: in the caller's ids as in text, every frame's span recorded, and what is wrong refused by
name.
"""

from __future__ import annotations

from typing import Any

import pytest

from reference_engine import Engine, EngineConfig, Request, RequestError
from reference_engine.multimodal.placeholders import VideoSize
from reference_engine.predict import Predictor
from reference_engine.request import Video


@pytest.fixture(scope="module")
def qwen3(_cache: None) -> Engine:
    return Engine(EngineConfig(model="random-qwen3-vl"))


@pytest.fixture
def clip(noise: Any) -> Video:
    return Video([noise((84, 56), i) for i in range(5)], fps=2.0)


TEXT = (
    "<|im_start|>one <|vision_start|><|video_pad|><|vision_end|> two <|vision_start|><|image_pad|><|vision_end|> three"
)


def test_ids_and_text_make_the_same_prompt(qwen3: Engine, clip: Video, noise: Any) -> None:
    media: dict[str, Any] = {"videos": [clip], "images": [noise((56, 84), 9)]}
    by_text = qwen3.prepare(Request("t", text=TEXT, **media))
    ids = qwen3.tokenizer(TEXT)["input_ids"]
    by_ids = qwen3.prepare(Request("i", input_ids=ids, **media))
    expanded = qwen3.prepare(Request("e", input_ids=by_text.ids, **media))
    assert by_text.ids == by_ids.ids == expanded.ids
    assert [i.spans for i in by_text.items] == [i.spans for i in by_ids.items] == [i.spans for i in expanded.items]
    assert [i.field for i in by_ids.items] == ["video_data[0]", "image_data[0]"]


def test_a_prediction_from_sizes_is_what_runs(qwen3: Engine, clip: Video, noise: Any) -> None:
    runs = qwen3.prepare(Request("t", text=TEXT, videos=[clip], images=[noise((56, 84), 9)]))
    told = Predictor(EngineConfig(model="random-qwen3-vl")).predict(
        Request("t", text=TEXT), [(56, 84)], [VideoSize(84, 56, 5, 2.0)], positions=True
    )
    assert told.prompt_ids == runs.ids
    assert told.positions == runs.positions_3L.tolist()
    assert [(i.modality, i.spans) for i in told.items] == [(i.modality, i.spans) for i in runs.items]


def test_every_pair_of_frames_is_a_span_after_its_time(qwen3: Engine, clip: Video) -> None:
    prompt = qwen3.prepare(Request("a", text="<|im_start|><|vision_start|><|video_pad|><|vision_end|>.", videos=[clip]))
    [item] = prompt.items
    video_id = qwen3.family.placeholders["video"]
    assert [{prompt.ids[i] for i in range(first, last + 1)} for first, last in item.spans] == [{video_id}] * 3
    written = qwen3.tokenizer.decode([i for i in prompt.ids if i != video_id])
    frame = "<|vision_start|><|vision_end|>"
    assert f"<0.2 seconds>{frame}<1.2 seconds>{frame}<2.0 seconds>{frame}" in written
    faster = qwen3.prepare(
        Request("b", text="<|im_start|><|vision_start|><|video_pad|><|vision_end|>.", videos=[Video(clip.frames, 4.0)])
    )
    assert faster.ids != prompt.ids


def test_a_video_of_one_token_is_expanded_and_then_known(qwen3: Engine, noise: Any) -> None:
    """Its placeholder looks as the video itself does, but for the time before it."""
    tiny = Video([noise((13, 11), i) for i in range(2)], fps=1.0)
    text = "<|im_start|>a<|vision_start|><|video_pad|><|vision_end|>b"
    once = qwen3.prepare(Request("t", text=text, videos=[tiny]))
    assert [last - first for item in once.items for first, last in item.spans] == [0]
    assert "<0.5 seconds>" in qwen3.tokenizer.decode(once.ids)
    assert qwen3.prepare(Request("i", input_ids=once.ids, videos=[tiny])).ids == once.ids


def test_time_moves_positions_and_keys_where_it_is_not_written(clip: Video) -> None:
    engine = Engine(EngineConfig(model="random-qwen2.5-vl"))
    text = "<|im_start|><|vision_start|><|video_pad|><|vision_end|>."
    slow, fast = (engine.prepare(Request("a", text=text, videos=[Video(clip.frames, fps)])) for fps in (0.5, 4.0))
    assert slow.ids == fast.ids
    assert slow.positions_3L[0].max() > fast.positions_3L[0].max()
    assert slow.items[0].key != fast.items[0].key


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        ({"videos": []}, 422, "holds 1 video placeholder"),
        ({"fps": None}, 400, r"video_data\[0\]: 84x56 cannot be served: .*send fps"),
        ({"fps": float("nan")}, 400, r"video_data\[0\]: 84x56 cannot be served: fps nan is not from 0.001 to 1000"),
        ({"fps": -1.0}, 400, "fps -1.0 is not from"),
        ({"fps": float("inf")}, 400, "fps inf is not from"),
        ({"frames": []}, 400, r"video_data\[0\]: 0 frames"),
        ({"other": (56, 56)}, 400, r"video_data\[0\]: frames of different sizes"),
    ],
)
def test_what_is_wrong_is_named(
    qwen3: Engine, clip: Video, noise: Any, change: dict[str, Any], status: int, words: str
) -> None:
    frames = [*clip.frames[1:], noise(change["other"], 0)] if "other" in change else clip.frames
    video = Video(change.get("frames", frames), change.get("fps", 2.0))
    request = Request("a", text="<|im_start|><|video_pad|>.", videos=change.get("videos", [video]))
    with pytest.raises(RequestError, match=words) as caught:
        qwen3.prepare(request)
    assert caught.value.status == status


def test_families_without_videos_say_so(clip: Video) -> None:
    engine = Engine(EngineConfig(model="random-internvl"))
    with pytest.raises(RequestError, match="internvl takes no videos") as caught:
        engine.prepare(Request("a", text="<video>", videos=[clip]))
    assert caught.value.status == 422


def test_placeholders_of_what_is_not_served_are_refused_by_name() -> None:
    engine = Engine(EngineConfig(model="random-llava-onevision"))
    video = engine.tokenizer.convert_tokens_to_ids("<video>")
    with pytest.raises(RequestError, match="video placeholder; videos are not served") as caught:
        engine.prepare(Request("a", input_ids=[5, video]))
    assert (caught.value.status, caught.value.field) == (422, "input_ids[1]")
