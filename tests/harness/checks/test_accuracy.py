from __future__ import annotations

import pytest
from observations import answer, prompt, refused

from harness.checks.accuracy import accuracy_floor, accuracy_unchanged
from harness.observation import Observation, Prompt

NAMES = ("off", "on")


def answers(right: int, wrong: int, *, refusing: bool = False) -> list[Observation]:
    return [answer()] * right + [refused() if refusing else answer(text="8")] * wrong


def prompts(count: int) -> list[Prompt]:
    return [prompt(f"p{number}") for number in range(count)]


@pytest.mark.parametrize(
    ("lost", "status"),
    [(0, "pass"), (1, "pass"), (2, "cannot_tell"), (5, "fail")],
)
def test_a_loss_is_judged_by_the_exact_test(lost: int, status: str) -> None:
    verdict = accuracy_unchanged(NAMES, prompts(20), (answers(20, 0), answers(20 - lost, lost)), source="s")
    assert verdict.status == status


def test_refusals_count_as_lost_and_are_told_apart() -> None:
    verdict = accuracy_unchanged(NAMES, prompts(20), (answers(20, 0), answers(12, 8, refusing=True)), source="s")
    assert verdict.status == "fail"
    assert "8 lost (8 refused, 0 answered wrong)" in verdict.message


def test_a_gain_passes() -> None:
    assert accuracy_unchanged(NAMES, prompts(20), (answers(12, 8), answers(20, 0)), source="s").status == "pass"


def test_an_untrained_model_has_nothing_to_lose() -> None:
    verdict = accuracy_unchanged(NAMES, prompts(20), (answers(1, 19), answers(0, 20)), source="s")
    assert verdict.status == "not_exercised"


def test_floor() -> None:
    assert accuracy_floor("on", prompts(10), answers(9, 1), 0.9, source="s").status == "pass"
    assert accuracy_floor("on", prompts(10), answers(8, 2), 0.9, source="s").status == "fail"
    assert accuracy_floor("on", prompts(10), answers(8, 2), None, source="s").status == "not_exercised"
    assert accuracy_floor("on", [], [], 0.9, source="s").status == "not_exercised"
