"""Bias, penalties and barred end tokens equal transformers' processors, or OpenAI's formula, in any batch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reference_engine import hf
from reference_engine.logits_processors import LogitsProcessor, changes_logits, process
from reference_engine.sampling_params import SamplingParams

VOCABULARY = 40
CPU = torch.device("cpu")
theirs = hf.transformers.generation.logits_process
ids = st.lists(st.integers(0, VOCABULARY - 1), max_size=12)
penalty = st.one_of(st.just(0.0), st.floats(-2, 2))
params = st.builds(
    SamplingParams,
    min_new_tokens=st.integers(0, 6),
    repetition_penalty=st.one_of(st.just(1.0), st.floats(0.5, 3)),
    presence_penalty=penalty,
    frequency_penalty=penalty,
    logit_bias=st.dictionaries(st.integers(0, VOCABULARY - 1), st.floats(-5, 5), max_size=4),
    stop_token_ids=st.tuples(st.integers(0, VOCABULARY - 1)),
)


def expected(logits: torch.Tensor, p: SamplingParams, prompt: list[int], answer: list[int]) -> torch.Tensor:
    """transformers' classes where it has them; OpenAI's sum written out."""
    known = torch.tensor([prompt + answer])
    scores = logits[None].clone()
    if p.logit_bias:
        scores = theirs.SequenceBiasLogitsProcessor({(i,): float(b) for i, b in p.logit_bias.items()})(known, scores)
    if p.repetition_penalty != 1 and known.numel():
        scores = theirs.RepetitionPenaltyLogitsProcessor(p.repetition_penalty)(known, scores)
    for token in set(answer):
        scores[0, token] -= p.presence_penalty + p.frequency_penalty * answer.count(token)
    end = list(p.stop_token_ids)
    least = theirs.MinNewTokensLengthLogitsProcessor(len(prompt), p.min_new_tokens, end)
    return least(known, scores)[0]


def processor(p: SamplingParams, prompt: list[int], answer: list[int]) -> LogitsProcessor:
    made = LogitsProcessor(p, torch.tensor(prompt, dtype=torch.int64), p.stop_token_ids, VOCABULARY, CPU)
    made.follow(answer[: len(answer) // 2])
    made.follow(answer)
    return made


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(params, ids, ids), min_size=1, max_size=4), st.integers(0, 1 << 30))
def test_changes_equal_transformers_in_any_batch(rows: list[Any], seed: int) -> None:
    logits = torch.randn(len(rows), VOCABULARY, generator=torch.Generator().manual_seed(seed)) * 5
    made = process(logits.clone(), [processor(*row) for row in rows])
    for i, row in enumerate(rows):
        assert torch.allclose(made[i], expected(logits[i], *row), atol=1e-5)


@pytest.mark.parametrize(
    "change",
    [
        {"logit_bias": {3: 1.0}}, {"min_new_tokens": 1}, {"repetition_penalty": 1.1}, {"presence_penalty": 0.1},
        {"frequency_penalty": -0.1},
    ],
)  # fmt: skip
def test_only_what_asks_for_a_change_is_changed(change: dict[str, Any]) -> None:
    assert not changes_logits(SamplingParams(temperature=1.0, top_p=0.5, seed=1))
    assert changes_logits(SamplingParams(**change))


def test_the_prompt_counts_for_repetition_alone() -> None:
    logits = torch.ones(2, VOCABULARY)
    repetition = processor(SamplingParams(repetition_penalty=2.0), [4], [5])
    presence = processor(SamplingParams(presence_penalty=0.5, frequency_penalty=0.25), [4], [5, 5])
    made = process(logits, [repetition, presence])
    assert made[:, 4:6].tolist() == [[0.5, 0.5], [1.0, 0.0]]
