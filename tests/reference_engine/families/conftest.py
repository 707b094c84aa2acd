"""Every family's random checkpoint, random requests for it, and transformers end to end (processor, then generate) to
judge them by.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from reference_engine import Engine, EngineConfig, Request, SamplingParams
from reference_engine.hf import transformers
from reference_engine.random_models import random_model
from reference_engine.request import Video

EDGES = [(365, 211), (153, 174), (337, 337), (161, 184), (11, 13), (26, 28), (332, 27), (56, 84)]
"""(width, height) at which counts were reported wrong, transposed pairs added below."""
WORDS = ["Describe", "the", "digit", "of", "image", "row", "naïve", "图像", "🙂", "<b>", "12,345", "\n\n", "D", "\n"]


@dataclass(frozen=True)
class Markup:
    """How a family's chat template writes one item."""

    image: str | None
    video: str | None = None
    mixed: bool = True
    """Whether transformers takes images and videos in one prompt; GLM-4V's model cannot tell their features apart."""
    sizes: list[tuple[int, int]] = field(default_factory=lambda: EDGES + [(h, w) for w, h in EDGES])


QWEN = Markup("<|vision_start|><|image_pad|><|vision_end|>", "<|vision_start|><|video_pad|><|vision_end|>")
FAMILIES = {
    "random-qwen2-vl": QWEN,
    "random-qwen2.5-vl": QWEN,
    "random-qwen3-vl": QWEN,
    "random-glm4v": Markup(
        "<|begin_of_image|><|image|><|end_of_image|>", "<|begin_of_video|><|video|><|end_of_video|>", mixed=False
    ),
    "random-idefics3": Markup("<image>"),
    "random-llava": Markup("<image>"),
    "random-smolvlm": Markup("<image>"),
    "random-internvl": Markup("<IMG_CONTEXT>"),
    "random-llava-onevision": Markup("<image>"),
    "random-qwen2": Markup(None),
    "random-gemma3": Markup("<start_of_image>"),
    "random-minicpm-v": Markup("<|image_pad|>"),
    "random-kimi-k2.5": Markup("<|media_begin|>image<|media_content|><|media_pad|><|media_end|>"),
    "random-qwen3": Markup(None),
    "random-llama": Markup(None),
    "random-gemma2": Markup(None),
}


@dataclass
class Case:
    """One random request."""

    text: str
    images: list[Image.Image]
    videos: list[Video]
    new_tokens: int

    def request(self, name: str, **more: Any) -> Request:
        sampling = SamplingParams(max_new_tokens=self.new_tokens, ignore_eos=True)
        return Request(
            name, images=list(self.images), videos=list(self.videos), sampling=sampling, **{"text": self.text, **more}
        )


@dataclass(frozen=True)
class Expected:
    prompt_ids: list[int]
    ids: list[int]
    logprobs: list[float]


class Oracle:
    """transformers alone: no line of ours between the request and its answer, but for :func:`go_on_after_videos`."""

    def __init__(self, name: str) -> None:
        path = random_model(name)
        auto = transformers.AutoModelForImageTextToText if FAMILIES[name].image else transformers.AutoModelForCausalLM
        self.model: Any = auto.from_pretrained(path).eval()
        if FAMILIES[name].video:
            go_on_after_videos(self.model.model)
        self.images = FAMILIES[name].image is not None
        processors = transformers.AutoProcessor if self.images else transformers.AutoTokenizer
        self.processor: Any = processors.from_pretrained(path)
        if self.images:
            self.processor.image_processor = transformers.AutoImageProcessor.from_pretrained(path, backend="pil")

    @torch.inference_mode()
    def generate(self, case: Case) -> Expected:
        media: dict[str, Any] = {"images": [case.images]} if case.images else {}
        if case.videos:
            media |= {
                "videos": [video.frames for video in case.videos],
                "video_metadata": [metadata(video) for video in case.videos],
                "do_sample_frames": False,
            }
        inputs = self.processor(text=[case.text], return_tensors="pt", **media)
        length = inputs["input_ids"].shape[1]
        made = self.model.generate(
            **inputs, max_new_tokens=case.new_tokens, min_new_tokens=None, do_sample=False, eos_token_id=None,
            output_logits=True, return_dict_in_generate=True,
        )  # fmt: skip
        ids = made.sequences[0, length:].tolist()
        logprobs = [step[0].float().log_softmax(-1)[token].item() for step, token in zip(made.logits, ids, strict=True)]
        return Expected(inputs["input_ids"][0].tolist(), ids, logprobs)


def go_on_after_videos(model: Any) -> None:
    """Have what follows a video placed one past its largest position, as Qwen2-VL's paper says and SGLang and vLLM do.
    transformers (5.23) goes on from its height or width, so that text after a long video shares positions with it; see
    ``results/conformance/reproductions/transformers_text_inside_a_video.py``.
    """
    get_rope_index = model.get_rope_index

    def mended(input_ids: Tensor, mm_token_type_ids: Tensor, *more: Any, **options: Any) -> tuple[Tensor, Tensor]:
        positions_3BL, _ = get_rope_index(input_ids, mm_token_type_ids, *more, **options)
        assert input_ids.shape[0] == 1
        largest, cuts = -1, (mm_token_type_ids[0].diff().nonzero().flatten() + 1).tolist()
        for part_3L in positions_3BL[:, 0].tensor_split(cuts, dim=1):
            part_3L += largest + 1 - part_3L.min()
            largest = int(part_3L.max())
        return positions_3BL, torch.tensor([[largest + 1 - input_ids.shape[1]]])

    model.get_rope_index = mended


def metadata(video: Video) -> dict[str, Any]:
    count = len(video.frames)
    return {"total_num_frames": count, "fps": video.fps, "frames_indices": list(range(count))}


@dataclass
class Bench:
    """One family: its oracle, its engines, its requests with what transformers answers."""

    name: str
    oracle: Oracle
    engines: dict[str, Engine] = field(default_factory=dict)
    judged: dict[int, tuple[Case, Expected]] = field(default_factory=dict)

    def engine(self, **settings: Any) -> Engine:
        key = repr(sorted(settings.items()))
        if key not in self.engines:
            self.engines[key] = Engine(EngineConfig(model=self.name, num_blocks=1024, **settings))
        return self.engines[key]

    @property
    def markup(self) -> Markup:
        return FAMILIES[self.name]

    def request(self, name: str, **what: Any) -> Request:
        return Request(name, sampling=SamplingParams(max_new_tokens=3, ignore_eos=True), **what)

    def cases(self, count: int) -> list[tuple[Case, Expected]]:
        """The first ``count`` of one endless series."""
        for seed in range(count):
            if seed not in self.judged:
                case = random_case(FAMILIES[self.name], seed)
                self.judged[seed] = case, self.oracle.generate(case)
        return [self.judged[seed] for seed in range(count)]


def random_case(markup: Markup, seed: int) -> Case:
    """No, one or several items, first, last (but for the very last token) or anywhere, words between or not."""
    rng = np.random.default_rng(seed)
    count = 0 if markup.image is None else int(rng.integers(0, 4)) if seed > 1 else 2
    kinds = ["video" if markup.video and rng.random() < (0.8 if seed == 1 else 0.3) else "image" for _ in range(count)]
    if not markup.mixed:
        kinds = kinds[:1] * count
    sizes = [markup.sizes[int(i)] for i in rng.integers(len(markup.sizes), size=count)]
    text = "" if count and rng.random() < 0.3 else words(rng)
    images, videos = [], []
    for kind, size in zip(kinds, sizes, strict=True):
        text += str(markup.video if kind == "video" else markup.image) + (words(rng) if rng.random() < 0.6 else "")
        frames = [
            noise(size, int(rng.integers(1 << 30))) for _ in range(int(rng.integers(2, 7)) if kind == "video" else 1)
        ]
        if kind == "video":
            videos.append(Video(frames, float(rng.choice([0.5, 1, 2, 3, 24, 29.97]))))
        else:
            images += frames
    return Case(f"<|im_start|>{text}<|im_end|>", images, videos, int(rng.integers(2, 7)))


def words(rng: np.random.Generator) -> str:
    return " ".join(WORDS[int(i)] for i in rng.integers(len(WORDS), size=int(rng.integers(1, 7))))


def noise(size: tuple[int, int], seed: int) -> Image.Image:
    """Blocks of random colours: another picture for every seed, other rows within it."""
    width, height = size
    cells = np.random.default_rng(seed).integers(0, 256, (-(-height // 14), -(-width // 14), 3), dtype=np.uint8)
    return Image.fromarray(cells.repeat(14, 0).repeat(14, 1)[:height, :width])


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Checkpoints are made anew, by the code under test."""
    with pytest.MonkeyPatch.context() as patch:
        if "ASSAY_CACHE" not in os.environ:
            patch.setenv("ASSAY_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session", name="noise")
def _noise() -> Any:
    return noise


@cache
def bench(name: str) -> Bench:
    return Bench(name, Oracle(name))


@pytest.fixture(scope="session")
def bench_of(_cache: None) -> Callable[[str], Bench]:
    return bench


@pytest.fixture(scope="module")
def family_of_tiles(_cache: None) -> Bench:
    """One whose items own several spans."""
    return bench("random-idefics3")


@pytest.fixture(scope="module", params=FAMILIES)
def family(request: pytest.FixtureRequest, _cache: None) -> Bench:
    return bench(request.param)


@pytest.fixture(scope="module", params=[name for name, markup in FAMILIES.items() if markup.image])
def looking_family(request: pytest.FixtureRequest, _cache: None) -> Bench:
    """Those that take images."""
    return bench(request.param)
