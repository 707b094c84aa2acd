"""Any schedule leaves every answer as it is alone; and each planted fault of scheduler and caches is found by that."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.errors import Flaky
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from reference_engine import Engine
from reference_engine.block_pool import BlockLeak
from reference_engine.faults import encoder_cache, prefix_cache, scheduling
from tests.reference_engine.schedules import SETTINGS, make_cases, make_schedule

SHORT = settings(max_examples=12, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck))
HUNT = settings(
    SHORT, max_examples=150, stateful_step_count=25, phases=[Phase.generate], database=None, derandomize=True,
    report_multiple_bugs=False,
)  # fmt: skip
FAULTS = [fault.id for module in (prefix_cache, encoder_cache, scheduling) for fault in module.FAULTS]
KEYS_ONLY = {"F2-01", "F2-03", "F2-05", "fix-wider-hash"}
"""Too rare to meet in a few images: found by the properties of keys, see test_key_faults.py."""
IN_SHORT = {"F2-09", "F5-08", "F5-17"}


class Cases:
    """Cases, their answers alone in each setting, and engines with a fault or without."""

    def __init__(self, lively: Any, make_case: Any, picture: Any) -> None:
        self.lively, self.cases = lively, make_cases(make_case, picture)
        plain = [
            lively.engine(slice_rows=s.get("slice_rows", 0), prefix_cache=False, encoder_cache=False) for s in SETTINGS
        ]
        answered: dict[int, list[Any]] = {}
        for engine in plain:
            if id(engine) not in answered:
                answered[id(engine)] = [engine.generate([case.request("a")])[0] for case in self.cases]
        self.alone = [answered[id(engine)] for engine in plain]

    def schedule(self, plant: str | None = None) -> type[RuleBasedStateMachine]:
        base = self.lively.engine().config.with_(max_batch_size=4, plant=plant)
        return make_schedule([Engine(base.with_(**s)) for s in SETTINGS], self.cases, self.alone)


@pytest.fixture(scope="module")
def cases(lively: Any, make_case: Any, picture: Any) -> Cases:
    return Cases(lively, make_case, picture)


def test_any_schedule(cases: Cases) -> None:
    run_state_machine_as_test(cases.schedule(), settings=SHORT)


@pytest.mark.slow
def test_many_schedules(cases: Cases) -> None:
    run_state_machine_as_test(cases.schedule(), settings=settings(SHORT, max_examples=120, stateful_step_count=50))


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(fault, marks=[] if fault in IN_SHORT else [pytest.mark.slow])
        for fault in FAULTS
        if fault not in KEYS_ONLY
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_a_planted_fault_is_found(cases: Cases, fault: str) -> None:
    with pytest.raises((AssertionError, BlockLeak, Flaky)):
        run_state_machine_as_test(cases.schedule(fault), settings=HUNT)


def test_rows_a_request_has_still_to_lay_stay_when_another_leaves(lively: Any, make_case: Any, picture: Any) -> None:
    """Three images, of which two fit; the second one's request leaves, and the third needs the room (vllm#46747)."""
    base = lively.engine().config.with_(**SETTINGS[3], max_batch_size=4)
    cases = make_cases(make_case, picture)

    def run(engine: Engine) -> None:
        for case in (1, 2, 3):
            engine.submit(cases[case].request(str(case)))
        engine.step()
        engine.abort("2")
        while engine.has_work():
            engine.step()
            engine.check_integrity()

    run(Engine(base))
    with pytest.raises(BlockLeak, match="encoder entries are pinned"):
        run(Engine(base.with_(plant="F5-03")))
