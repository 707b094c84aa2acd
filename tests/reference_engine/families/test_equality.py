"""Every family's greedy answers equal transformers' own, token for token, alone and in batches, whole and in chunks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

FEW, MANY = 5, 500
TOLERANCE = 3e-4
"""Of a log-probability, in float32; sums in another order differ by about 1e-5."""


def assert_equal(family: Any, some: slice, alone: bool = False, **settings: Any) -> None:
    cases = family.cases(some.stop)[some]
    engine = family.engine(**settings)
    requests = [case.request(str(i), want_evidence=True, want_logprobs=True) for i, (case, _) in enumerate(cases)]
    answers = [engine.generate([r])[0] for r in requests] if alone else engine.generate(requests)
    for i, (answer, (_, right)) in enumerate(zip(answers, cases, strict=True)):
        assert answer.error is None, (i, answer.error)
        assert answer.evidence.prompt_ids == right.prompt_ids, f"request {i}"
        assert answer.output_ids == right.ids, f"request {i}"
        worst = max(abs(a - b) for a, b in zip(answer.logprobs, right.logprobs, strict=True))
        assert worst < TOLERANCE, f"request {i}: log-probabilities differ by {worst}"


def test_alone(family: Any) -> None:
    assert_equal(family, slice(FEW), alone=True)


@pytest.mark.parametrize("settings", [{}, {"vit_batching": "per_item", "chunked_prefill": 7}], ids=["whole", "chunks"])
def test_batched(family: Any, settings: dict[str, Any]) -> None:
    assert_equal(family, slice(FEW), **settings)


def test_answers_depend_on_the_picture(looking_family: Any, noise: Any) -> None:
    """Guards this module against models that do not look."""
    case, right = next((c, r) for c, r in looking_family.cases(FEW) if c.images)
    others = [noise(image.size, 99) for image in case.images]
    other = looking_family.oracle.generate(replace(case, images=others))
    assert other.prompt_ids == right.prompt_ids
    assert abs(other.logprobs[0] - right.logprobs[0]) > 30 * TOLERANCE


def test_answers_are_not_all_the_same(family: Any) -> None:
    """Guards this module against models that repeat themselves: a wrong token would go unseen."""
    tokens = [token for _, right in family.cases(FEW) for token in right.ids]
    assert len(set(tokens)) > len(tokens) / 3, tokens


IN_PART = [
    {"alone": True},
    *({"vit_batching": vit, "chunked_prefill": chunk} for vit in ("per_item", "cross_request") for chunk in (0, 7)),
    {"vit_batching": "per_item", "chunked_prefill": 16},
]


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_many(family: Any) -> None:
    """All requests in one setting; in each of the others a share of them, together all."""
    assert_equal(family, slice(MANY), vit_batching="cross_request", chunked_prefill=16)
    for start, settings in enumerate(IN_PART):
        assert_equal(family, slice(start, MANY, len(IN_PART)), **settings)
    tokens = [token for _, right in family.cases(MANY) for token in right.ids]
    assert len(set(tokens)) > 20, "the model says the same thing whatever it is asked"
