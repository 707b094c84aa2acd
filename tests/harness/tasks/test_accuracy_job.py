"""The accuracy job against the stand-in engine, whose answers are the digits of the pictures."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from standin_workload import plain_questions

from harness.errors import UsageError
from harness.jobs import JobContext
from harness.tasks.cli import settings_of
from harness.tasks.job import Plan, accuracy_job

MakeContext = Callable[..., JobContext]
BOTH = settings_of(["vit_batching=per_item,cross_request"])
MIXED_UP = {"cross_request": ["--slice-rows", "1", "--plant", "F1-01"]}
"""Rows go astray: some requests are refused, some answered wrong."""


@pytest.fixture
def task(tmp_path: Path) -> str:
    lines = []
    for i, asked in enumerate(plain_questions(16, 0)):
        names = [f"{i}-{j}.png" for j in range(len(asked.images))]
        for name, image in zip(names, asked.images, strict=True):
            image.save(tmp_path / name)
        lines.append({"images": names, "question": asked.question, "answer": asked.answer, "scorer": "number"})
    path = tmp_path / "digits.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    return str(path)


def statuses(context: JobContext) -> dict[str, str]:
    return {filed.verdict.check: filed.verdict.status for filed in context.filed}


def run(context: JobContext, plan: Plan) -> dict[str, str]:
    accuracy_job(plan)().run(context)
    return statuses(context)


def test_settings_that_answer_alike_pass(make_context: MakeContext, task: str) -> None:
    found = run(make_context(samples=None), Plan(task, BOTH))
    assert found == {
        "accuracy floor (vit_batching=per_item)": "pass",
        "accuracy floor (vit_batching=cross_request)": "pass",
        "accuracy unchanged (vit_batching=per_item to vit_batching=cross_request)": "pass",
    }


def test_a_setting_that_loses_answers_is_red(make_context: MakeContext, task: str) -> None:
    found = run(make_context(MIXED_UP, samples=None), Plan(task, BOTH))
    assert found["accuracy floor (vit_batching=per_item)"] == "pass"
    assert found["accuracy unchanged (vit_batching=per_item to vit_batching=cross_request)"] == "fail"


def test_an_earlier_record_is_a_baseline(make_context: MakeContext, task: str) -> None:
    before = make_context(samples=None)
    run(before, Plan(task, {"as launched": {}}))
    record = before.recorder.finish(0)
    assert (
        run(make_context(samples=None), Plan(task, {"now": {}}, record))["accuracy unchanged (baseline to now)"]
        == "pass"
    )
    worse = make_context({"*": ["--slice-rows", "1", "--plant", "F1-01"]}, samples=None)
    assert run(worse, Plan(task, {"now": {}}, record))["accuracy unchanged (baseline to now)"] == "fail"


def test_a_baseline_of_other_questions_is_refused(make_context: MakeContext, task: str) -> None:
    before = make_context(samples=8)
    run(before, Plan(task, {"as launched": {}}))
    record = before.recorder.finish(0)
    with pytest.raises(UsageError, match="did not ask digits-"):
        accuracy_job(Plan(task, {"now": {}}, record))().run(make_context(samples=None))


def test_every_combination_of_what_is_compared() -> None:
    assert settings_of([]) == {"as launched": {}}
    found = settings_of(["encoder_cache=on,off", "prefix_cache=on,off"])
    assert next(iter(found)) == "encoder_cache=on prefix_cache=on"
    assert len(found) == 4
    with pytest.raises(UsageError, match="write TOGGLE=SETTING,SETTING"):
        settings_of(["encoder_cache"])
