"""The reference engine answers as transformers' own model does, on the sentinels whose family it serves."""

from __future__ import annotations

import numpy as np
import pytest

from reference_engine import Engine, EngineConfig, Request, SamplingParams
from reference_engine.multimodal.families import known
from reference_engine.sentinels import PACKAGED
from reference_engine.sentinels.architectures import architecture_of
from reference_engine.sentinels.cases import answered_right, encode_cases, make_cases
from reference_engine.sentinels.evaluate import load

SERVED = [name for name, path in PACKAGED.items() if architecture_of(path).name in known]


@pytest.mark.parametrize("name", SERVED)
def test_answers_are_right_where_the_plain_model_is(name: str) -> None:
    architecture, model, tokenizer = load(name)
    cases = make_cases(architecture, tokenizer, 24, 31)
    plain = answered_right(architecture, model, encode_cases(architecture, model, cases))
    requests = []
    for number, case in enumerate(cases):
        text = tokenizer.decode(case.ids[: case.prompt_length].tolist())
        for image in case.images:
            text = text.replace(architecture.image_text(image.shape), architecture.markup, 1)
        images = [image.to_pil() for image in case.images]
        requests.append(Request(str(number), text=text, images=images, sampling=SamplingParams(max_new_tokens=16)))
    answers = {answer.request_id: answer for answer in Engine(EngineConfig(model=name)).generate(requests)}
    assert [answers[str(number)].prompt_tokens for number in range(len(cases))] == [c.prompt_length for c in cases]
    right = [
        answers[str(number)].output_ids == case.ids[case.prompt_length :].tolist() for number, case in enumerate(cases)
    ]
    assert right == plain
    assert np.mean(right) > 0.9
