"""The reference engine against itself: equal as it is, told apart with a fault in the one under test."""

from __future__ import annotations

from pathlib import Path

from harness.session import Wishes, run


def test_a_fault_in_the_target_alone_is_told_with_its_place(tmp_path: Path) -> None:
    outcome = run(Wishes(jobs=["differential"], samples=4, plant="F4-01", directory=tmp_path))
    found = {filed.verdict.check: filed.verdict for filed in outcome.filed}
    equal = ("ids run = ids sent (target)", "ids as the reference runs them", "prompt tokens as the reference")
    assert [found[check].status for check in (*equal, "spans as the reference")] == ["pass"] * 4
    gaps = found["log-probabilities of prompts as the reference"]
    assert gaps.status == "fail"
    assert "same-00, position 16 (after image 1), token 1020[<|vision_end|>]" in gaps.message
    assert found["log-probabilities of answers"].status == "fail"
    assert outcome.code == 1


def test_without_a_fault_everything_is_equal(tmp_path: Path) -> None:
    outcome = run(Wishes(jobs=["differential"], samples=4, accuracy_floor=0.0, directory=tmp_path))
    assert {filed.verdict.status for filed in outcome.filed} == {"pass"}
    assert len(outcome.filed) == 12
    assert outcome.code == 0


def test_who_takes_no_ids_is_not_asked_prompts_that_differ_in_ids_alone(tmp_path: Path) -> None:
    target = "chat_target:ChatTarget"
    outcome = run(Wishes(jobs=["differential"], samples=4, target=target, accuracy_floor=0.0, directory=tmp_path))
    found = {filed.verdict.check: filed.verdict for filed in outcome.filed}
    assert found["answered as by the reference"].status == "pass"
    odd = [verdict for check, verdict in found.items() if check.endswith("of odd prompts")]
    assert [verdict.status for verdict in odd] == ["not_exercised"] * 2
    assert all("takes messages, no token ids" in verdict.message for verdict in odd)
    assert not [verdict for verdict in found.values() if verdict.status == "fail"]
    assert outcome.code == 0
