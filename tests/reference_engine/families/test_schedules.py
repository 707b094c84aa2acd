"""Every family under random schedules: submitted, preempted, aborted and flushed at any step, in small pools, with
prefixes and rows of others about. Whatever happens, an answer is transformers' own.
"""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest

from reference_engine import Engine, EngineConfig

TOLERANCE = 3e-4
STEPS, MOST_STEPS, CASES, TOKENS = 40, 4000, 8, 900


class Schedule:
    """One engine with settings, requests and disturbances drawn from a seed."""

    def __init__(self, family: Any, seed: int) -> None:
        self.rng = rng = random.Random(seed)
        self.cases = family.cases(CASES)
        size = rng.choice([2, 4, 8, 16])
        config = EngineConfig(
            model=family.name, block_size=size, num_blocks=TOKENS // size,
            chunked_prefill=rng.choice([0, 3, 5, 16, 37]),
            max_batch_size=rng.choice([2, 4, 8]), prefix_cache=rng.random() < 0.8, encoder_cache=rng.random() < 0.7,
            vit_batching="cross_request" if rng.random() < 0.7 else "per_item", encoder_rows=600, check_every_step=True,
        )  # fmt: skip
        self.engine = Engine(config)
        self.asked: dict[str, int] = {}
        self.answered = 0

    def run(self) -> None:
        for _ in range(STEPS):
            for _ in range(self.rng.randrange(3)):
                self.submit()
            self.step()
            self.disturb()
        for _ in range(MOST_STEPS):
            if self.engine.has_work():
                self.step()
        assert self.answered == sum(1 + number % 2 for number in range(len(self.asked)))
        self.engine.scheduler.check_idle()

    def submit(self) -> None:
        """Every other one in two choices; some as the ids that transformers made, expanded already."""
        number, case = len(self.asked), self.rng.randrange(CASES)
        asked, right = self.cases[case]
        more: dict[str, Any] = {"want_evidence": self.rng.random() < 0.5}
        if self.rng.random() < 0.3:
            more |= {"text": None, "input_ids": list(right.prompt_ids)}
        if self.rng.random() < 0.3:
            more |= {"logprob_start": self.rng.randrange(2)}
        request = asked.request(str(number), want_logprobs=True, **more)
        request.sampling = replace(request.sampling, n=1 + number % 2)
        self.engine.submit(request)
        self.asked[str(number)] = case

    def step(self) -> None:
        for answer in [output.answer for output in self.engine.step() if output.answer is not None]:
            right = self.cases[self.asked[answer.request_id]][1]
            made = len(answer.output_ids)
            assert answer.error is None
            assert answer.output_ids == (right.ids[:made] if answer.finish_reason == "abort" else right.ids)
            assert answer.logprobs == pytest.approx(right.logprobs[:made], abs=TOLERANCE)
            self.answered += 1

    def disturb(self) -> None:
        running, what = self.engine.scheduler.running, self.rng.random()
        if what < 0.2 and running:
            self.engine.preempt(self.rng.choice(running).id)
        elif what < 0.25 and running:
            self.engine.abort(self.rng.choice(running).id)
        elif what < 0.3:
            self.engine.flush_cache()


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_any_schedule_leaves_every_answer_as_it_is(family: Any) -> None:
    for seed in range(4):
        Schedule(family, seed).run()
