"""The engine's one claim: greedy output equals transformers' generate(), token for token, however requests are
batched.
"""

from __future__ import annotations

from typing import Any

import pytest

REQUESTS = 200
TOLERANCE = 2e-4  # of a log-probability; float32 sums in another order differ by about 1e-6


@pytest.fixture(scope="module", params=["sentinel", "lively"])
def compared(
    request: pytest.FixtureRequest, bench: Any, lively: Any, make_cases: Any
) -> tuple[Any, list[Any], list[Any]]:
    """A checkpoint, random requests, and what transformers answers."""
    one, count = {"sentinel": (bench, REQUESTS), "lively": (lively, 60)}[request.param]
    cases = make_cases(count, seed=11)
    return one, cases, [one.oracle.generate(case) for case in cases]


def assert_equal(answers: list[Any], expected: list[Any]) -> None:
    for i, (answer, right) in enumerate(zip(answers, expected, strict=True)):
        assert answer.error is None, (i, answer.error)
        assert answer.output_ids == right.ids, f"request {i}"
        worst = max(abs(a - b) for a, b in zip(answer.logprobs, right.logprobs, strict=True))
        assert worst < TOLERANCE, f"request {i}: log-probabilities differ by {worst}"


def test_alone(compared: Any) -> None:
    one, cases, expected = compared
    engine = one.engine()
    assert_equal([engine.generate([case.request("alone")])[0] for case in cases], expected)


@pytest.mark.parametrize("vit_batching", ["per_item", "cross_request"])
def test_batched(compared: Any, vit_batching: str) -> None:
    check_batch(compared, slice(None), vit_batching=vit_batching)


@pytest.mark.parametrize("vit_batching", ["per_item", "cross_request"])
@pytest.mark.parametrize("chunked_prefill", [7, 16])
def test_chunks_that_cut_images(compared: Any, vit_batching: str, chunked_prefill: int) -> None:
    check_batch(compared, slice(50), vit_batching=vit_batching, chunked_prefill=chunked_prefill)


@pytest.mark.slow
@pytest.mark.parametrize("vit_batching", ["per_item", "cross_request"])
@pytest.mark.parametrize("chunked_prefill", [1, 7, 16, 33])
@pytest.mark.parametrize("block_size", [1, 16])
def test_all_requests_in_chunks(compared: Any, vit_batching: str, chunked_prefill: int, block_size: int) -> None:
    settings = {"block_size": block_size, "num_blocks": 16_384 // block_size}
    check_batch(compared, slice(None), vit_batching=vit_batching, chunked_prefill=chunked_prefill, **settings)


def check_batch(compared: Any, some: slice, **settings: Any) -> None:
    one, cases, expected = compared
    requests = [case.request(str(i)) for i, case in enumerate(cases[some])]
    assert_equal(one.engine(**settings).generate(requests), expected[some])


def test_ids_in_place_of_text(compared: Any) -> None:
    one, cases, expected = compared
    for avoid in (True, False):
        engine = one.engine(avoid_retokenize=avoid)
        ids = [one.oracle.tokenizer(case.text)["input_ids"] for case in cases[:40]]
        requests = [case.request(str(i), text=None, input_ids=ids[i]) for i, case in enumerate(cases[:40])]
        assert_equal(engine.generate(requests), expected[:40])


def test_the_lively_model_answers_with_many_tokens(lively: Any, make_cases: Any) -> None:
    """Guards this module against comparing one constant with another."""
    tokens = [t for case in make_cases(20, seed=3) for t in lively.oracle.generate(case).ids]
    assert len(set(tokens)) > 0.4 * len(tokens)
