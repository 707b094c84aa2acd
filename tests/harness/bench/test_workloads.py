from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from statistics import fmean, pstdev

import pytest
import torch

from harness.bench.models import SIZES, checkpoint, resized
from harness.bench.workloads import Workload, arrivals
from harness.vocabulary import Vocabulary
from reference_engine.sentinels import resolve_model

MIXED = Workload(12, (2, 9), images=(1, 2), cells=(1, 3), words=(1, 4))


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return Vocabulary(resolve_model("sentinel-qwen2.5-vl"))


def test_requests_follow_from_the_seed_and_stay_within_their_ranges(vocabulary: Vocabulary) -> None:
    prompts = MIXED.prompts(vocabulary)
    assert prompts == MIXED.prompts(vocabulary)
    assert len({prompt.name for prompt in prompts}) == 12
    for prompt in prompts:
        assert 2 <= prompt.max_new_tokens <= 9
        assert 1 <= len(prompt.pictures) <= 2
        assert prompt.ids.count(vocabulary.placeholder) == len(prompt.pictures)
        assert all(picture.width % 28 == 0 and picture.width <= 84 for picture in prompt.pictures)
    assert len({prompt.max_new_tokens for prompt in prompts}) > 1


def test_a_share_is_the_first_ones(vocabulary: Vocabulary) -> None:
    assert MIXED.prompts(vocabulary, 0.25) == MIXED.prompts(vocabulary)[:3]


def test_geometric_lengths_deviate_by_as_much_as_their_mean(vocabulary: Vocabulary) -> None:
    lengths = [p.max_new_tokens for p in Workload(600, (2, 90), 20, words=(1, 1)).prompts(vocabulary)]
    assert (min(lengths), max(lengths)) == (2, 90)
    assert fmean(lengths) == pytest.approx(20, rel=0.1)
    assert pstdev(lengths) == pytest.approx(20, rel=0.15)


def test_arrivals_are_a_process_of_the_rate_that_begins_at_once() -> None:
    moments = arrivals(2000, 50.0)
    assert moments[0] == 0.0
    assert moments == sorted(moments)
    gaps = [b - a for a, b in pairwise(moments)]
    assert fmean(gaps) == pytest.approx(1 / 50, rel=0.1)
    assert sum(gap > 1 / 50 for gap in gaps) / len(gaps) == pytest.approx(0.368, abs=0.04)
    assert arrivals(3, 0.0) == [0.0, 0.0, 0.0]


def test_the_sentinel_that_is_benchmarked_has_no_end_token(tmp_path: Path) -> None:
    model = checkpoint("sentinel-qwen2.5-vl", tmp_path)
    assert '"eos_token_id": null' in (model / "config.json").read_text()
    assert '"eos_token_id": null' in (model / "generation_config.json").read_text()
    before = (model / "config.json").stat().st_mtime_ns
    assert checkpoint("sentinel-qwen2.5-vl", tmp_path) == model
    assert (model / "config.json").stat().st_mtime_ns == before


@pytest.mark.parametrize(("name", "parameters"), [("random-0.5b", 0.49e9), ("random-3b", 3.1e9), ("random-7b", 7.6e9)])
def test_random_models_have_the_size_that_they_are_named_after(name: str, parameters: float) -> None:
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    sentinel = json.loads((resolve_model("sentinel-qwen2.5-vl") / "config.json").read_text())
    config = Qwen2_5_VLConfig.from_dict(resized(sentinel, SIZES[name]))
    with torch.device("meta"):
        model = Qwen2_5_VLForConditionalGeneration(config)
    assert sum(weight.numel() for weight in model.parameters()) == pytest.approx(parameters, rel=0.02)
