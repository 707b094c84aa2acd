"""The decoder compiles whole around the attention, and answers as it does without."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from reference_engine.attention.operator import OperatorStep
from reference_engine.attention.paged import PagedStep


class Says:
    """A step that answers with its own number."""

    def __init__(self, value: float) -> None:
        self.value = value

    def attend(self, layer: int, q: Any, k: Any, v: Any, scaling: float, *_: Any) -> torch.Tensor:
        return torch.full((q.shape[2], q.shape[1], v.shape[3]), self.value)


def test_two_places_do_not_meet() -> None:
    q = torch.zeros(1, 2, 3, 4)
    one, other = OperatorStep(), OperatorStep()
    step: PagedStep = Says(1.0)
    with one.run(step), other.run(Says(2.0)):
        assert one.attend(0, q, q, q, 1.0).unique().tolist() == [1.0]
        assert other.attend(0, q, q, q, 1.0).unique().tolist() == [2.0]
    with pytest.raises(KeyError):
        one.attend(0, q, q, q, 1.0)


@pytest.mark.slow
def test_one_graph_for_prompts_and_decoding_and_equal_answers(lively: Any, make_cases: Any) -> None:
    from torch._dynamo.utils import counters

    cases = make_cases(6, seed=71, max_images=2)
    counters.clear()
    engine = lively.engine(compile=True, chunked_prefill=16)
    answers = engine.generate([case.request(str(i), want_evidence=True) for i, case in enumerate(cases)])
    assert [a.output_ids for a in answers] == [lively.oracle.generate(case).ids for case in cases]
    assert all(a.evidence.toggles["compile"]["acted"] for a in answers)
    assert not counters["graph_break"]
    assert counters["stats"]["unique_graphs"] == 1
