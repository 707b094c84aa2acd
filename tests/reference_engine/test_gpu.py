"""The engine on a card (`pytest -m gpu`): Triton kernels, recorded graphs and encoder passes on a stream of their own
give what transformers' ``generate`` gives on the CPU, and in batch_invariant mode bits do not depend on company. The
kernels' own tests run on the card by themselves.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.reference_engine.test_batch_invariant import PLACES, differing

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def wanted(lively: Any, make_cases: Any) -> tuple[list[Any], list[list[int]]]:
    cases = make_cases(24, seed=61, max_images=3)
    return cases, [lively.oracle.generate(case).ids for case in cases]


@pytest.mark.parametrize("encoder_overlap", [False, True])
@pytest.mark.parametrize("cuda_graph", [False, True])
@pytest.mark.parametrize("attention", ["torch", "triton"])
def test_answers_are_those_of_the_cpu(
    lively: Any, wanted: tuple[list[Any], list[list[int]]], attention: str, cuda_graph: bool, encoder_overlap: bool
) -> None:
    cases, expected = wanted
    settings = {"attention": attention, "cuda_graph": cuda_graph, "encoder_overlap": encoder_overlap}
    engine = lively.engine(device="cuda", chunked_prefill=37, **settings)
    answers = engine.generate([case.request(str(i), want_evidence=True) for i, case in enumerate(cases)])
    assert [a.output_ids for a in answers] == expected
    acted = [a.evidence.toggles["cuda_graph"]["acted"] for a in answers]
    assert any(acted) == cuda_graph


def test_a_replay_reads_its_live_inputs(lively: Any, make_cases: Any) -> None:
    """One graph, many contents: requests one after the other, each through the recordings of those before it."""
    engine = lively.engine(device="cuda", cuda_graph=True)
    cases = make_cases(6, seed=62, max_images=1)
    for i, case in enumerate(cases):
        [answer] = engine.generate([case.request(str(i))])
        assert answer.output_ids == lively.oracle.generate(case).ids


def test_tensor_parallel_over_cards(lively: Any, wanted: tuple[list[Any], list[list[int]]]) -> None:
    import torch

    if torch.cuda.device_count() < 2:
        pytest.skip("needs two cards")
    cases, expected = wanted
    engine = lively.engine(device="cuda", tensor_parallel=2)
    try:
        answers = engine.generate([case.request(str(i)) for i, case in enumerate(cases)])
    finally:
        engine.close()
    assert [a.output_ids for a in answers] == expected


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    "settings", [{}, {"cuda_graph": True}, {"attention": "torch"}], ids=["kernels", "graphs", "torch"]
)
def test_whole_grid_of_batch_invariance(lively: Any, make_cases: Any, dtype: str, settings: dict[str, Any]) -> None:
    """That of test_batch_invariant. Images come in several encoder passes or in one, beside decoding or not."""
    cases = make_cases(6, seed=5)
    for case in cases:
        case.new_tokens, case.ignore_eos = 8, True
    assert differing(lively, cases, PLACES, device="cuda", dtype=dtype, **settings) == []
