"""A processor's own count is the family's, by either convention; where it cannot be had, the reason is told."""

from __future__ import annotations

import importlib.util
import logging
from types import SimpleNamespace
from typing import Any

import pytest

from reference_engine import EngineConfig
from reference_engine.multimodal.processor_counts import count_by_processor
from reference_engine.predict import Predictor

SIZES = [(365, 211), (211, 365), (153, 174), (337, 337), (28, 28), (30, 11)]


@pytest.mark.skipif(importlib.util.find_spec("torchvision") is None, reason="the whole processor needs torchvision")
def test_transformers_convention_counts_as_the_layouts_do(bench: Any) -> None:
    predictor = Predictor(EngineConfig(model=str(bench.path)))
    again = predictor.count_again(SIZES)
    layouts = [predictor.placer.family.layout("image", size, i, len(SIZES)) for i, size in enumerate(SIZES)]
    assert again.tokens == [sum(layout.counts) for layout in layouts]
    assert again.how == "_get_num_multimodal_tokens"


class Kimi:
    """The processor of Kimi's repository, as far as counting goes: a calculator of one medium."""

    def media_tokens_calculator(self, media: dict[str, Any]) -> int:
        assert media["type"] == "image"
        width, height = media["image"].size
        return (width // 28) * (height // 28)


@pytest.mark.parametrize("where", ["media_processor", "image_processor", None])
def test_kimis_convention(where: str | None) -> None:
    processor = Kimi() if where is None else SimpleNamespace(**{where: Kimi()})
    counted = count_by_processor(processor, [(56, 28), (280, 56)])
    assert (counted.tokens, counted.how) == ([2, 20], "media_tokens_calculator")


def fails(image_sizes: Any) -> None:
    raise KeyError("no such size")


@pytest.mark.parametrize(
    ("processor", "words"),
    [
        (SimpleNamespace(), "has neither convention of counting"),
        (SimpleNamespace(_get_num_multimodal_tokens=fails), "failed: KeyError"),
        (SimpleNamespace(_get_num_multimodal_tokens=lambda image_sizes: {}), "failed: KeyError"),
    ],
)
def test_what_cannot_be_counted_is_told_and_logged(processor: Any, words: str, caplog: Any) -> None:
    with caplog.at_level(logging.WARNING):
        counted = count_by_processor(processor, SIZES)
    assert counted.tokens is None
    assert words in counted.how
    assert "the family's own count stands" in caplog.text
