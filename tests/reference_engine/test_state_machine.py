"""Any schedule of submit, step, abort and preempt: invariants hold after every action, and every answer equals the
one alone.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

SETTINGS = settings(max_examples=15, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck))
CHUNKS = (0, 3, 16)


@pytest.fixture(scope="module")
def schedule(lively: Any, make_cases: Any) -> type[RuleBasedStateMachine]:
    cases = make_cases(12, seed=77, max_images=2)
    engines = {
        chunk: lively.engine(num_blocks=28, block_size=8, max_batch_size=5, chunked_prefill=chunk) for chunk in CHUNKS
    }
    alone = [engines[0].generate([case.request("a")])[0] for case in cases]

    class Schedule(RuleBasedStateMachine):
        @initialize(chunk=st.sampled_from(CHUNKS))
        def start(self, chunk: int) -> None:
            self.engine = engines[chunk]
            self.engine.flush_cache()
            self.cases: dict[str, int] = {}
            self.ids: dict[str, list[int]] = {}
            self.answers: dict[str, Any] = {}
            self.aborted: set[str] = set()

        @rule(case=st.integers(0, len(cases) - 1))
        def submit(self, case: int) -> None:
            name = str(len(self.cases))
            self.cases[name] = case
            self.engine.submit(cases[case].request(name))

        @rule(steps=st.integers(1, 4))
        def step(self, steps: int) -> None:
            for _ in range(steps):
                had_work = self.engine.has_work()
                before = {s.id: (s.computed, s.length) for s in self.engine.scheduler.running}
                outputs = self.engine.step()
                after = {s.id: (s.computed, s.length) for s in self.engine.scheduler.running}
                assert not had_work or outputs or before != after, "a step did nothing"
                for output in outputs:
                    assert output.request_id not in self.answers, "output after the answer"
                    self.ids.setdefault(output.request_id, []).extend(output.new_ids)
                    if output.answer is not None:
                        self.answers[output.request_id] = output.answer

        @rule(pick=st.integers(0, 1 << 16))
        def abort(self, pick: int) -> None:
            live = [name for name in self.cases if name not in self.answers and name not in self.aborted]
            if live:
                name = live[pick % len(live)]
                self.engine.abort(name)
                self.aborted.add(name)

        @rule(pick=st.integers(0, 1 << 16))
        def preempt(self, pick: int) -> None:
            running = self.engine.scheduler.running
            if running:
                assert self.engine.preempt(running[pick % len(running)].id)

        @invariant()
        def the_books_agree(self) -> None:
            if hasattr(self, "engine"):
                self.engine.check_integrity()

        def teardown(self) -> None:
            if not hasattr(self, "engine"):
                return
            while self.engine.has_work():
                self.step(1)
            self.engine.cache.check_idle()
            for name, case in self.cases.items():
                answer = self.answers[name]
                right = alone[case].output_ids[: len(answer.output_ids) if name in self.aborted else None]
                assert answer.output_ids == self.ids.get(name, [])
                assert answer.output_ids == right

    return Schedule


def test_any_schedule(schedule: type[RuleBasedStateMachine]) -> None:
    run_state_machine_as_test(schedule, settings=SETTINGS)


@pytest.mark.slow
def test_many_schedules(schedule: type[RuleBasedStateMachine]) -> None:
    run_state_machine_as_test(schedule, settings=settings(SETTINGS, max_examples=200, stateful_step_count=60))
