"""Engines to test and transformers itself to compare with.

The checkpoint is the packaged sentinel; ``ASSAY_TEST_MODEL`` names another. ``lively`` is the same architecture with
large random weights: it hardly ever repeats itself, so that equal answers mean more.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from reference_engine import Engine, EngineConfig, Request, SamplingParams
from reference_engine.sentinels import resolve_model

SIZES = [
    (153, 174), (174, 153), (365, 211), (211, 365), (337, 337), (161, 184), (1000, 28), (28, 1000), (28, 28), (30, 11),
    (84, 56), (56, 84), (140, 140), (300, 57),
]  # fmt: skip
WORDS = [
    "Describe", "the", "digit", "of", "image", "row", "col", "last", "every", "read", "colour", "naïve",
    "图像", "🙂", "<b>", "12,345", "", "\n\n",
]  # fmt: skip


@dataclass
class Case:
    """One random multimodal request, as text and images."""

    text: str
    images: list[Image.Image]
    new_tokens: int = 6
    ignore_eos: bool = False

    def request(self, name: str, **more: Any) -> Request:
        sampling = SamplingParams(max_new_tokens=self.new_tokens, ignore_eos=self.ignore_eos)
        options: dict[str, Any] = {"text": self.text, "sampling": sampling, "want_logprobs": True} | more
        return Request(name, images=list(self.images), **options)


@dataclass
class Expected:
    ids: list[int]
    logprobs: list[float]


def noise(size: tuple[int, int], seed: int) -> Image.Image:
    """Blocks of random colours: a different picture for every seed, and different rows within it."""
    width, height = size
    cells = np.random.default_rng(seed).integers(0, 256, (-(-height // 14), -(-width // 14), 3), dtype=np.uint8)
    return Image.fromarray(cells.repeat(14, 0).repeat(14, 1)[:height, :width])


def random_case(rng: np.random.Generator, *, sizes: list[tuple[int, int]] = SIZES, max_images: int = 4) -> Case:
    """Images first, last, adjacent or apart, bare or between their markers; sometimes none."""
    count = int(rng.integers(0, max_images + 1))
    images = [noise(sizes[int(rng.integers(len(sizes)))], int(rng.integers(1 << 30))) for _ in range(count)]
    text = "" if rng.random() < 0.3 and count else _words(rng)
    for i in range(count):
        bare = rng.random() < 0.2 and not text.endswith("<|image_pad|>")
        text += "<|image_pad|>" if bare else "<|vision_start|><|image_pad|><|vision_end|>"
        if rng.random() < 0.6 and (i + 1 < count or rng.random() < 0.7):
            text += _words(rng)
    return Case(text, images, int(rng.integers(1, 8)), bool(rng.random() < 0.7))


def _words(rng: np.random.Generator) -> str:
    return " ".join(WORDS[int(i)] for i in rng.integers(len(WORDS), size=int(rng.integers(1, 9))))


class Oracle:
    """transformers, unchanged: its model, its generate(), its tokenizer, its image processor, text expanded as its
    processor does.
    """

    def __init__(self, path: Path) -> None:
        from reference_engine import hf  # defines what a foreign torchvision lacks, before transformers looks for it

        self.model: Any = hf.transformers.AutoModelForImageTextToText.from_pretrained(path).eval()
        self.tokenizer: Any = hf.transformers.AutoTokenizer.from_pretrained(path)
        self.images: Any = hf.load_image_processor(path)

    def inputs(self, case: Case) -> dict[str, torch.Tensor]:
        made: dict[str, torch.Tensor] = {}
        text = case.text
        if case.images:
            made = dict(self.images(images=case.images, return_tensors="pt"))
            for grid in made["image_grid_thw"]:
                text = text.replace("<|image_pad|>", "<|one|>" * int(grid.prod() // 4), 1)
        ids = self.tokenizer(text.replace("<|one|>", "<|image_pad|>"), return_tensors="pt")["input_ids"]
        return made | {"input_ids": ids, "mm_token_type_ids": (ids == self.model.config.image_token_id).int()}

    @torch.inference_mode()
    def generate(self, case: Case) -> Expected:
        """``generate()``, except for a prompt whose very last token is an image's: see :meth:`_without_cache`."""
        inputs = self.inputs(case)
        end = None if case.ignore_eos else self.model.generation_config.eos_token_id
        if inputs["mm_token_type_ids"][0, -1]:
            return self._without_cache(inputs, case.new_tokens, end or [])
        made = self.model.generate(
            **inputs, attention_mask=torch.ones_like(inputs["input_ids"]), max_new_tokens=case.new_tokens,
            do_sample=False, eos_token_id=end, output_logits=True, return_dict_in_generate=True,
        )  # fmt: skip
        ids = made.sequences[0, inputs["input_ids"].shape[1] :].tolist()
        logprobs = [step[0].log_softmax(-1)[token].item() for step, token in zip(made.logits, ids, strict=True)]
        return Expected(ids, logprobs)

    def _without_cache(self, inputs: dict[str, torch.Tensor], new_tokens: int, end: list[int]) -> Expected:
        """Greedy by whole forward passes. ``generate()`` (5.23) places the first new token one past the last prompt
        token in each row of MRoPE by itself; after an image's last token the rows differ, and it disagrees with the
        model's own ``get_rope_index``, which is what counts here.
        """
        expected = Expected([], [])
        while len(expected.ids) < new_tokens and not set(expected.ids) & set(end):
            self.model.model.rope_deltas = None
            logits = self.model(**inputs).logits[0, -1].log_softmax(-1)
            expected.ids.append(int(logits.argmax()))
            expected.logprobs.append(logits.max().item())
            for name, value in (("input_ids", expected.ids[-1]), ("mm_token_type_ids", 0)):
                inputs[name] = torch.nn.functional.pad(inputs[name], (0, 1), value=value)
        return expected


@dataclass
class Bench:
    """One checkpoint with its oracle, and engines over it, one a configuration."""

    path: Path
    oracle: Oracle
    engines: dict[EngineConfig, Engine] = field(default_factory=dict)

    def engine(self, **settings: Any) -> Engine:
        """An engine, shared by the tests that ask for the same settings; idle and with empty caches when handed out."""
        config = replace(EngineConfig(model=str(self.path), num_blocks=512), **settings)
        if config not in self.engines:
            self.engines[config] = Engine(config)
        engine = self.engines[config]
        assert not engine.has_work(), "an earlier test left requests behind"
        engine.flush_cache()
        return engine


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def bench() -> Bench:
    path = resolve_model(os.environ.get("ASSAY_TEST_MODEL", "sentinel-qwen2.5-vl"))
    return Bench(path, Oracle(path))


@pytest.fixture(scope="session")
def lively(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    path = tmp_path_factory.mktemp("lively") / "model"
    shutil.copytree(bench.path, path)
    model = Oracle(path).model
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * parameter[0].numel() ** -0.5)
        model.lm_head.weight.mul_(4)
    model.save_pretrained(path)
    yield Bench(path, Oracle(path))
    shutil.rmtree(path)


@pytest.fixture(scope="session")
def make_cases() -> Callable[..., list[Case]]:
    def make(count: int, seed: int, **options: Any) -> list[Case]:
        rng = np.random.default_rng(seed)
        return [random_case(rng, **options) for _ in range(count)]

    return make


@pytest.fixture(scope="session")
def make_case() -> type[Case]:
    return Case


@pytest.fixture(scope="session")
def picture() -> Callable[[tuple[int, int], int], Image.Image]:
    return noise
