"""Prompts for each sentinel are what that sentinel was trained on."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.vocabulary import Vocabulary
from harness.workloads.chat import QWEN, chat_prompt, markup_of
from harness.workloads.drift import drift_prompts, sentinel_questions
from reference_engine import EngineConfig, Request
from reference_engine.predict import Predictor
from reference_engine.sentinels import PACKAGED
from reference_engine.sentinels.tasks import CELL


@pytest.mark.parametrize("model", PACKAGED)
def test_pictures_and_questions_are_the_sentinels_own(model: str) -> None:
    markup, vocabulary = markup_of(PACKAGED[model]), Vocabulary(PACKAGED[model])
    assert markup.architecture is not None
    shapes, questions = markup.architecture.limits.shapes, sentinel_questions(30, 5, markup)
    sizes = {(image.height // CELL, image.width // CELL) for asked in questions for image in asked.images}
    assert sizes <= set(shapes) or not shapes
    predictor = Predictor(EngineConfig(model=model))
    for prompt in drift_prompts(vocabulary, questions, 5, markup):
        told = predictor.predict(
            Request("p", input_ids=list(prompt.ids)), [(p.width, p.height) for p in prompt.pictures]
        )
        assert [len(item.spans) for item in told.items] == list(prompt.spans_per_item or [1] * len(prompt.pictures))
        if prompt.written:
            assert len(told.prompt_ids) == len(prompt.ids) + sum(len(ids) - 1 for ids in prompt.written)
            assert [item.length for item in told.items] == [len(ids) for ids in prompt.written]


def test_a_model_of_several_spans_knows_what_it_writes() -> None:
    path = PACKAGED["sentinel-idefics3"]
    markup, vocabulary = markup_of(path), Vocabulary(path)
    prompt = chat_prompt(vocabulary, "p", sentinel_questions(1, 0, markup)[0], markup=markup)
    assert markup.owns_spans
    assert all(count in (3, 5) for count in prompt.spans_per_item)


def test_other_models_are_asked_as_qwen(checkpoint: Path) -> None:
    assert markup_of(checkpoint) is QWEN
