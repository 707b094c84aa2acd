"""A few faults of each kind are seen, each by the suite that is for it, and the engine without them by none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from itertools import chain, islice

import pytest
import torch

from harness.differential.check import Check
from harness.differential.checks import CHECKS
from harness.differential.costs import COSTS
from harness.differential.models import find_models
from harness.differential.wire_checks import WIRE_CHECKS
from harness.faults.findings import CLEAN, Finding
from harness.faults.forking import run_forked
from harness.faults.served import Served
from harness.faults.suites import TURNS, InProcess, Properties, Suite

SEEN_BY = {
    "F1-03": "differential", "F2-09": "differential", "F3-16": "differential", "F4-07": "differential",
    "F9-05": "differential", "F10-11": "differential", "F5-13": "benchmark", "F8-11": "benchmark",
    "F4-01": "properties", "fix-scaled": "properties",
}  # fmt: skip


@cache
def suite(name: str) -> Suite:
    torch.set_num_threads(1)
    models = find_models(("random-qwen2.5-vl",))
    made: dict[str, Callable[[], Suite]] = {
        "differential": lambda: InProcess("differential", CHECKS, models),
        "benchmark": lambda: InProcess("benchmark", COSTS, models),
        "properties": Properties,
    }
    loaded = made[name]()
    loaded.load(0)
    return loaded


def red(fault: str, name: str) -> list[Finding]:
    """The first that is."""
    return list(islice((one for one in suite(name).findings(fault, quick=True) if one.red), 1))


@pytest.mark.parametrize(("fault", "name"), [pair for pair in SEEN_BY.items() if pair[1] != "properties"])
def test_a_planted_fault_is_seen(fault: str, name: str) -> None:
    [seen] = red(fault, name)
    assert seen.message


@pytest.mark.parametrize("name", ["differential", "benchmark"])
def test_nothing_is_seen_where_nothing_is_planted_by_any_check(name: str) -> None:
    packed = torch.randn(64, 64).to_mkldnn()  # as other engines of this process hold theirs, without a storage
    findings = list(suite(name).findings(CLEAN, quick=False))
    assert packed.is_mkldnn
    assert [one for one in findings if one.red] == []
    assert {one.check for one in findings} == {check.name for check in (CHECKS if name == "differential" else COSTS)}


def test_quick_looks_at_a_clean_engine_take_turns_until_every_check_was_asked() -> None:
    loaded = suite("differential")
    assert isinstance(loaded, InProcess)
    names = [f"check {number}" for number in range(7)]
    short = replace(loaded, checks=[Check(name, (1,), lambda bench: ()) for name in names])
    looks = [[one.check for one in replace(short, seed=seed).findings(CLEAN, quick=True)] for seed in range(TURNS)]
    assert sorted(chain(*looks)) == names
    assert max(map(len, looks)) == 3


def test_every_check_names_its_invariants() -> None:
    checks = [*CHECKS, *COSTS, *WIRE_CHECKS]
    assert all(check.invariants for check in checks)
    assert all(1 <= number <= 18 for check in checks for number in check.invariants)


@pytest.mark.slow
def test_the_properties_see_what_is_planted_and_nothing_else() -> None:
    jobs = [CLEAN, *(fault for fault, name in SEEN_BY.items() if name == "properties")]
    suite("properties")
    ended = {one.job: one for one in run_forked(jobs, lambda job: suite("properties").findings(job, quick=False), 2)}
    assert [one.trouble for one in ended.values()] == [None] * len(jobs)
    assert {job: any(one.red for one in ended[job].items) for job in jobs} == {job: job != CLEAN for job in jobs}


SEEN_OUTSIDE = {
    "F3-13": "other calls = oracle's", "F2-21": "other calls = oracle's", "F9-05": "refused, and alive",
    "F3-01": "every form the same", "F3-04": "every form the same", "F4-03": "every form the same",
    "F3-21": "prompts scored the same", "padded-exclusive-end": "alone = oracle",
}  # fmt: skip


@pytest.mark.slow
def test_a_server_is_judged_from_outside() -> None:
    served = Served(find_models(("random-qwen2.5-vl",)))
    served.load(0)
    assert [one for one in served.findings(CLEAN, quick=True) if one.red] == []
    for fault, check in SEEN_OUTSIDE.items():
        first = next((one for one in served.findings(fault, quick=True) if one.red), None)
        assert first is not None, fault
        assert first.check == check, f"{fault}: {first.check}, {first.message}"
