"""Sampling through the whole engine: options equal transformers' ``generate``, draws do not depend on how a request is
run, ends come where they should.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from reference_engine import Request, SamplingParams

IMAGE = "<|vision_start|><|image_pad|><|vision_end|>"


def ask(engine: Any, text: str = "hello", **params: Any) -> Any:
    sampling = SamplingParams(**({"max_new_tokens": 24, "ignore_eos": True} | params))
    [answer] = engine.generate([Request("a", text=text, sampling=sampling, want_logprobs=True)])
    assert len(answer.logprobs) == len(answer.output_ids) == answer.completion_tokens
    return answer


@pytest.fixture
def engine(lively: Any) -> Any:
    return lively.engine()


@torch.inference_mode()
def generate(oracle: Any, case: Any, **options: Any) -> list[int]:
    inputs = oracle.inputs(case)
    ones = torch.ones_like(inputs["input_ids"])
    made = oracle.model.generate(**inputs, attention_mask=ones, max_new_tokens=24, do_sample=False, **options)
    return made[0, ones.shape[1] :].tolist()


def test_options_equal_transformers_generate(lively: Any, engine: Any, make_case: Any, picture: Any) -> None:
    """Greedy, with an image in the prompt: its placeholder counts as a token of the prompt there and here."""
    case = make_case(f"{IMAGE}read the row", [picture((84, 56), 3)], 24)
    plain = engine.generate([case.request("p")])[0].output_ids
    end = plain[3]
    options: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({"repetition_penalty": 1.8}, {"repetition_penalty": 1.8}),
        ({"logit_bias": {end: -8.0, 700: 3.5}}, {"sequence_bias": {(end,): -8.0, (700,): 3.5}}),
        ({"stop_token_ids": (end,), "min_new_tokens": 9}, {"eos_token_id": [end], "min_new_tokens": 9}),
    ]
    for ours, theirs in options:
        sampling = SamplingParams(max_new_tokens=24, ignore_eos=True, **ours)
        made = engine.generate([case.request("a", sampling=sampling)])[0].output_ids
        assert made == generate(lively.oracle, case, **({"eos_token_id": []} | theirs))
        assert made != plain


def test_penalties_of_the_answer(engine: Any) -> None:
    one = ask(engine, logit_bias={5: 100.0, 6: 80.0}).output_ids
    assert one == [5] * 24
    often = ask(engine, logit_bias={5: 100.0, 6: 80.0}, frequency_penalty=2.0).output_ids
    assert 5 < often.count(5) < 19  # 5 is ahead by 20 and what the model prefers, and loses 2 each time
    assert often.count(5) + often.count(6) == 24
    assert ask(engine, presence_penalty=2.0).output_ids != ask(engine).output_ids


def test_a_draw_does_not_depend_on_how_it_is_run(lively: Any, make_cases: Any) -> None:
    """Alone, in a batch, in chunks, in a pool that is nearly full: the same seed draws the same tokens."""
    cases = make_cases(8, seed=5, max_images=2)
    params = [
        SamplingParams(max_new_tokens=12, temperature=1.5, seed=i % 3, ignore_eos=True, top_p=0.9, min_p=0.01 * (i % 2),
                       frequency_penalty=0.5 * (i % 4 == 1))
        for i in range(8)
    ]  # fmt: skip
    requests = [case.request(str(i), sampling=params[i]) for i, case in enumerate(cases)]
    alone = [lively.engine().generate([request])[0].output_ids for request in requests]
    for settings in ({}, {"chunked_prefill": 5}, {"num_blocks": 40, "block_size": 8, "max_batch_size": 3}):
        together = lively.engine(**settings).generate(requests[::-1])[::-1]
        assert [answer.output_ids for answer in together] == alone
    assert lively.engine().generate([cases[0].request("x", sampling=params[1])])[0].output_ids != alone[0]


def test_preemption_at_any_moment_draws_the_same(lively: Any, make_cases: Any) -> None:
    cases, rng = make_cases(4, seed=9, max_images=1), np.random.default_rng(3)
    params = SamplingParams(max_new_tokens=10, temperature=1.5, n=2, ignore_eos=True, repetition_penalty=1.3,
                            frequency_penalty=0.5, min_new_tokens=4, logit_bias={7: 2.0})  # fmt: skip
    requests = [case.request(str(i), sampling=replace(params, seed=i)) for i, case in enumerate(cases)]
    alone = {r.request_id: [a.output_ids for a in lively.engine().generate([r])] for r in requests}
    engine = lively.engine(chunked_prefill=6, block_size=8)
    made: dict[tuple[str, int], Any] = {}
    for request in requests:
        engine.submit(request)
    while engine.has_work():
        engine.preempt(str(rng.integers(8)))
        made |= {(o.request_id, o.index): o.answer for o in engine.step() if o.answer}
    assert engine.counters()["preemptions_total"] > 10
    assert {key: answer.output_ids for key, answer in made.items()} == {
        (name, i): ids for name, both in alone.items() for i, ids in enumerate(both)
    }
    assert all(len(answer.token_logprobs) == len(answer.output_ids) for answer in made.values())


def test_without_a_seed_no_two_answers_are_the_same_and_the_evidence_gives_them_again(engine: Any) -> None:
    sampling = SamplingParams(max_new_tokens=24, temperature=3.0, ignore_eos=True, n=2)
    request = Request("a", text="hello", sampling=sampling, want_evidence=True)
    first, second = (engine.generate([request]) for _ in range(2))
    assert len({tuple(answer.output_ids) for answer in first + second}) == 4
    assert first[0].evidence.seed == first[1].evidence.seed != second[0].evidence.seed
    request.sampling = replace(sampling, seed=first[0].evidence.seed)
    assert [answer.output_ids for answer in engine.generate([request])] == [answer.output_ids for answer in first]


def test_no_end_before_min_new_tokens(engine: Any) -> None:
    plain = ask(engine)
    stop = plain.text[:3]
    early = ask(engine, stop=(stop,))
    assert (early.text, early.matched) == ("", stop)
    late = ask(engine, stop=(stop,), min_new_tokens=10)
    assert len(late.output_ids) > 10
    assert late.output_ids == plain.output_ids[: len(late.output_ids)]
    ends = tuple(set(plain.output_ids))
    barred = ask(engine, stop_token_ids=ends, min_new_tokens=10)
    assert not set(barred.output_ids[:10]) & set(ends)


def test_no_stop_trim_leaves_the_stop_in_the_text(engine: Any) -> None:
    plain = ask(engine)
    stop = plain.text[7:10]
    cut, whole = ask(engine, stop=(stop,)), ask(engine, stop=(stop,), no_stop_trim=True)
    assert whole.text == cut.text + stop
    assert plain.text.startswith(whole.text)
    assert whole.output_ids == cut.output_ids
    token = plain.output_ids[6]
    cut, whole = ask(engine, stop_token_ids=(token,)), ask(engine, stop_token_ids=(token,), no_stop_trim=True)
    assert whole.output_ids == cut.output_ids
    assert whole.text == engine.tokenizer.decode(whole.output_ids, skip_special_tokens=True)
