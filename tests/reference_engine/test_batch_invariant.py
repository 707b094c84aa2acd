"""In batch_invariant mode an answer has the bits it has alone, whatever the batch, order, chunking, threads and cache.

Tokens and log-probabilities are compared with ``==``, never with a tolerance.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from reference_engine import ConfigError, Engine, EngineConfig, Request, SamplingParams, batch_invariant, loading
from reference_engine.attention.sdpa import SDPAStep

SUBSETS = [range(6), (1, 2, 5)]
PLACES = [(0, 0), (1, 0), (2, 7), (3, 16), (4, 33), (5, 1)]
"""A seed for the order of requests, and ``chunked_prefill``."""
PLAIN_BOUND = 2e-4
"""Largest difference of a log-probability between decoding and prefilling again, in float32 without this mode."""
Bits = tuple[list[int], list[float]]


@pytest.fixture(scope="module")
def cases(make_cases: Any) -> list[Any]:
    made = make_cases(6, seed=5)
    for case in made:
        case.new_tokens, case.ignore_eos = 8, True
    return made


@pytest.fixture
def two_threads() -> Iterator[None]:
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(1)


def bits(engine: Any, cases: Sequence[Any], picks: Sequence[int]) -> dict[int, Bits]:
    answers = engine.generate([cases[i].request(str(i)) for i in picks])
    assert [answer.error for answer in answers] == [None] * len(picks)
    return {i: (answer.output_ids, answer.logprobs) for i, answer in zip(picks, answers, strict=True)}


def alone(engine: Any, cases: Sequence[Any]) -> dict[int, Bits]:
    return {i: bits(engine, cases, [i])[i] for i in range(len(cases))}


def differing(one: Any, cases: Sequence[Any], places: Sequence[tuple[int, int]], **settings: Any) -> list[Any]:
    """Grid points at which a request did not get the bits it gets alone, with nothing cached."""
    settings = {"batch_invariant": True} | settings
    expected = alone(one.engine(prefix_cache=False, **settings), cases)
    wrong = []
    for seed, chunk in places:
        for subset in SUBSETS:
            picks = random.Random(seed).sample(list(subset), len(subset))
            got = bits(one.engine(chunked_prefill=chunk, **settings), cases, picks)
            wrong += [(seed, chunk, picks, i) for i in picks if got[i] != expected[i]]
    return wrong


def test_sentinel(bench: Any, cases: Any) -> None:
    assert differing(bench, cases, [(2, 7)]) == []


def test_random_weights(lively: Any, cases: Any) -> None:
    assert differing(lively, cases, [(4, 33)]) == []


def test_encoder_passes_do_not_matter(lively: Any, cases: Any) -> None:
    apart, shared = (
        bits(lively.engine(batch_invariant=True, vit_batching=setting), cases, range(6))
        for setting in ("per_item", "cross_request")
    )
    assert apart == shared


def test_preemption_does_not_matter(lively: Any, cases: Any) -> None:
    def prompt_length(case: Any) -> int:
        return len(lively.oracle.inputs(case)["input_ids"][0])

    two = sorted(cases, key=prompt_length)[:2]
    expected = alone(lively.engine(batch_invariant=True), two)
    room = sum(map(prompt_length, two)) + 4  # both start, and cannot both go on
    tight = Engine(EngineConfig(str(lively.path), batch_invariant=True, block_size=1, num_blocks=room))
    assert bits(tight, two, [0, 1]) == expected
    assert tight.counters()["preemptions_total"] > 0


def again(engine: Any, one: Any, case: Any, output_ids: list[int]) -> list[float]:
    """The log-probabilities of an answer, each from a prefill of everything before it."""
    ids = one.oracle.tokenizer(case.text)["input_ids"]
    requests = [
        Request(
            str(n), input_ids=ids + output_ids[:n], images=list(case.images), want_logprobs=True,
            sampling=SamplingParams(max_new_tokens=1, ignore_eos=True),
        )
        for n in range(len(output_ids))
    ]  # fmt: skip
    answers = engine.generate(requests)
    assert [answer.output_ids[0] for answer in answers] == output_ids
    return [answer.logprobs[0] for answer in answers]


def test_decoding_equals_prefilling_again(lively: Any, cases: Any) -> None:
    exact, plain = lively.engine(batch_invariant=True), lively.engine()
    for case in cases[:2]:
        ids, logprobs = bits(exact, [case], [0])[0]
        assert again(exact, lively, case, ids) == logprobs
        ids, logprobs = bits(plain, [case], [0])[0]
        assert again(plain, lively, case, ids) == pytest.approx(logprobs, abs=PLAIN_BOUND)


def test_the_grid_sees_the_plain_mode(lively: Any, cases: Any) -> None:
    """Guards this module: without the mode the same comparison finds differences."""
    assert differing(lively, cases, [(1, 0)], batch_invariant=False)


def test_linear_maps_without_tiles_are_found(lively: Any, cases: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_invariant.TiledLinear, "forward", lambda m, x: F.linear(x, m.weight, m.bias))
    with pytest.raises(ConfigError, match="batch_invariant: on: logits alone and in a batch differ"):
        Engine(EngineConfig(str(lively.path), batch_invariant=True))
    monkeypatch.setattr(loading, "check_invariant", lambda *_: None)
    lively.engines.clear()
    assert differing(lively, cases, [(1, 0)])
    lively.engines.clear()


def test_attention_without_tiles_is_found(lively: Any, cases: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "TiledStep", SDPAStep)
    monkeypatch.setattr(loading, "check_invariant", lambda *_: None)
    lively.engines.clear()
    assert differing(lively, cases, [(2, 7)])
    lively.engines.clear()


@pytest.mark.parametrize(
    ("module", "name"),
    [
        (nn.SiLU(), "silu"), (nn.GELU(), "gelu"), (nn.GELU("tanh"), "gelu_tanh"),
    ],
)  # fmt: skip
def test_written_out_activations_are_the_same_functions(module: nn.Module, name: str) -> None:
    x = torch.linspace(-12, 12, 1001)
    assert torch.allclose(getattr(batch_invariant, name)(x), module(x), atol=2e-6)
    parent = nn.Sequential(module)
    batch_invariant.install(parent)
    assert torch.equal(parent(x), getattr(batch_invariant, name)(x))


@pytest.mark.parametrize(("options", "is_swapped"), [({}, True), ({"padding": 1}, False), ({"stride": 2}, False)])
def test_patch_convolutions_are_linear_maps(options: dict[str, Any], is_swapped: bool) -> None:
    parent = nn.Sequential(nn.Conv2d(3, 20, 4, **({"stride": 4} | options)))
    images = torch.randn(3, 3, 9, 13, generator=torch.Generator().manual_seed(0))
    expected = parent(images)
    batch_invariant.install(parent)
    assert isinstance(parent[0], batch_invariant.PatchConvolution) == is_swapped
    got = parent(images)
    assert torch.allclose(got, expected, atol=1e-6)
    if is_swapped:
        assert torch.equal(parent(images[1:2]), got[1:2])


def test_a_mixture_of_experts_is_refused() -> None:
    with pytest.raises(ConfigError, match="batch_invariant: not with a mixture of experts"):
        Engine(EngineConfig("random-kimi-k2.5", batch_invariant=True))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("model", ["bench", "lively"])
def test_whole_grid(request: pytest.FixtureRequest, cases: Any, model: str, dtype: str) -> None:
    assert differing(request.getfixturevalue(model), cases, PLACES, dtype=dtype) == []


@pytest.mark.slow
@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_whole_grid_on_two_threads(lively: Any, cases: Any, dtype: str) -> None:
    assert differing(lively, cases, PLACES, dtype=dtype) == []
