"""Log-probabilities of the prompt's own tokens equal transformers' forward, in any chunks, cold and warm, however the
request is run.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

from reference_engine import Request, RequestError, SamplingParams
from reference_engine.logprobs import PromptLogprobs

BOUND = 2e-4
"""Largest difference from transformers' float32 forward, in nats."""


@torch.inference_mode()
def expected(oracle: Any, case: Any) -> torch.Tensor:
    """Log-probabilities [positions, V]: row p is what comes before p predicts; row 0 is of no use."""
    oracle.model.model.rope_deltas = None
    logprobs = oracle.model(**oracle.inputs(case)).logits[0].log_softmax(-1)
    return torch.cat([logprobs[:1], logprobs[:-1]])


def ask(case: Any, name: str = "a", start: int = 0, top: int = 0, **more: Any) -> Request:
    return case.request(name, logprob_start=start, top_logprobs=top, **more)


def check(answer: Any, whole_LV: torch.Tensor, ids: list[int], places: set[int], start: int = 0, top: int = 0) -> None:
    assert len(answer.prompt_logprobs) == len(ids) - start == answer.prompt_tokens - start
    for position, one in enumerate(answer.prompt_logprobs, start):
        if position == 0 or position in places:
            assert one is None
            continue
        row = whole_LV[position]
        assert one.logprob == pytest.approx(row[ids[position]].item(), abs=BOUND)
        assert [p for _, p in one.top] == pytest.approx(row.topk(top).values.tolist(), abs=BOUND)
        assert all(p == pytest.approx(row[i].item(), abs=BOUND) for i, p in one.top)


@pytest.mark.parametrize("settings", [{}, {"chunked_prefill": 3}, {"chunked_prefill": 16}])
def test_they_equal_transformers_forward(lively: Any, make_cases: Any, settings: dict[str, int]) -> None:
    cases = make_cases(4, seed=61, max_images=2, sizes=[(84, 56), (56, 84), (112, 112)])
    compare(lively, cases, [0, 1, 0, 3], [0, 2, 5, 1], **settings)


@pytest.mark.slow
@pytest.mark.parametrize("chunk", [0, 1, 5, 17, 64])
def test_many_equal_transformers_forward(lively: Any, make_cases: Any, chunk: int) -> None:
    cases = make_cases(24, seed=chunk, max_images=3)
    compare(lively, cases, [i % 2 for i in range(24)], [i % 6 for i in range(24)], chunked_prefill=chunk, block_size=8)


def compare(lively: Any, cases: list[Any], starts: list[int], tops: list[int], **settings: int) -> None:
    engine = lively.engine(**settings)
    requests = [ask(c, str(i), s, t) for i, (c, s, t) in enumerate(zip(cases, starts, tops, strict=True))]
    prompts = [engine.prepare(request) for request in requests]
    alone = [engine.generate([case.request("x")])[0].output_ids for case in cases]
    answers = engine.generate(requests)
    for case, prompt, answer, start, top in zip(cases, prompts, answers, starts, tops, strict=True):
        places = {p for item in prompt.items for low, high in item.spans for p in range(low, high + 1)}
        check(answer, expected(lively.oracle, case), list(prompt.ids), places, start, top)
    assert [answer.output_ids for answer in answers] == alone


def test_warm_equals_cold(lively: Any, make_cases: Any) -> None:
    """vllm#13105: with a cached prefix the logits of its tokens are not there; they are computed again."""
    engine = lively.engine(block_size=4)
    cases = make_cases(4, seed=62, max_images=1, sizes=[(84, 56), (112, 112)])
    cold = engine.generate([ask(case, str(i)) for i, case in enumerate(cases)])
    engine.generate([case.request(str(i)) for i, case in enumerate(cases)])
    for start in (0, 1):
        warm = engine.generate([ask(case, str(i), start) for i, case in enumerate(cases)])
        for one, other in zip(cold, warm, strict=True):
            values = [None if p is None else p.logprob for p in one.prompt_logprobs[start:]]
            assert [None if p is None else p.logprob for p in other.prompt_logprobs] == pytest.approx(values, abs=BOUND)


def test_preemption_makes_no_position_twice(lively: Any, make_cases: Any) -> None:
    case = max(make_cases(4, seed=63, max_images=1), key=lambda case: len(case.text))
    engine = lively.engine(chunked_prefill=5)
    [whole] = engine.generate([ask(case)])
    for steps in range(1, 8):
        engine.submit(ask(case, "p"))
        outputs = [output for _ in range(steps) for output in engine.step()]
        engine.preempt("p")
        while engine.has_work():
            outputs += engine.step()
        [answer] = [output.answer for output in outputs if output.answer]
        values = [None if p is None else p.logprob for p in whole.prompt_logprobs]
        assert [None if p is None else p.logprob for p in answer.prompt_logprobs] == pytest.approx(values, abs=BOUND)


def test_choices_share_them(lively: Any, make_cases: Any) -> None:
    [case] = make_cases(1, seed=64, max_images=1)
    engine = lively.engine(chunked_prefill=6, max_batch_size=2)
    [alone] = engine.generate([ask(case, top=2)])
    sampling = SamplingParams(max_new_tokens=4, n=3, temperature=1.0, seed=1)
    for answer in engine.generate([ask(case, top=2, sampling=sampling)]):
        values = [None if p is None else p.logprob for p in alone.prompt_logprobs]
        assert [None if p is None else p.logprob for p in answer.prompt_logprobs] == pytest.approx(values, abs=BOUND)


def test_the_end_of_the_prompt_is_a_start_and_past_it_is_refused(lively: Any) -> None:
    engine = lively.engine()
    request = Request("a", text="hello", want_logprobs=True, logprob_start=0, sampling=SamplingParams(max_new_tokens=1))
    length = engine.generate([request])[0].prompt_tokens
    request.logprob_start = length
    assert engine.generate([request])[0].prompt_logprobs == []
    for start in (length + 1, -2):
        request.logprob_start = start
        with pytest.raises(RequestError, match=f"logprob_start: {start} is not from 0 to {length}"):
            engine.submit(request)
    with pytest.raises(RequestError, match="logprob_start: 0 was asked for, but no log-probabilities"):
        Request("a", text="hello", logprob_start=0)


def test_a_prompt_logprob_that_is_no_number_is_that_requests_error(lively: Any, monkeypatch: Any) -> None:
    engine = lively.engine()
    clean = engine.runner.decoder.logits

    def spoilt(hidden: torch.Tensor) -> torch.Tensor:
        logits = clean(hidden)
        return logits if len(logits) == 2 else logits * float("nan")  # two rows sample; the prompt has more

    monkeypatch.setattr(engine.runner.decoder, "logits", spoilt)
    sampling = SamplingParams(max_new_tokens=1)
    requests = [
        Request("a", text="read the last digit", want_logprobs=True, logprob_start=0, sampling=sampling),
        Request("b", text="hello", sampling=sampling),
    ]
    first, second = engine.generate(requests)
    assert (first.finish_reason, first.error.status) == ("error", 500)
    assert second.finish_reason in ("length", "stop")


def test_a_gap_is_never_bridged() -> None:
    scores = PromptLogprobs([1, 2, 3, 4, 5], [], 1, 0)
    with pytest.raises(ValueError, match="missing from 1 on"):
        scores.fill(2, torch.zeros(2, 3), lambda hidden: torch.zeros(len(hidden), 9))
