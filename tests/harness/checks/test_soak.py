from __future__ import annotations

from harness.checks.soak import memory_level, nothing_held

MIB = 2**20


def test_memory_is_judged_by_the_last_third_against_the_middle() -> None:
    assert memory_level([100 * MIB, 300 * MIB, *[500 * MIB] * 10]).status == "pass"
    growing = memory_level([(500 + 10 * i) * MIB for i in range(12)])
    assert growing.status == "fail"
    assert growing.figure is not None
    assert growing.figure > 1.05
    assert memory_level([500 * MIB] * 8).status == "not_exercised"


def test_what_is_held_when_idle_is_named() -> None:
    verdict = nothing_held({"running": 0.0, "pinned": 12.0}, ("running", "pinned"))
    assert (verdict.status, verdict.message) == ("fail", "pinned is 12 with nothing running")
    assert nothing_held({"running": 0.0}, ("running",)).status == "pass"
    assert "do not have pinned" in nothing_held({"running": 0.0}, ("running", "pinned")).message
    assert nothing_held({}, ()).status == "not_exercised"
