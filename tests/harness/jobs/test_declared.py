"""Declared jobs on the reference engine: green when it is whole, red when a reported fault is planted in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.errors import UsageError
from harness.jobfile import read_wishes
from harness.jobs.declared import Declaration, declared_job, launches
from harness.session import Outcome, run

FILE = """
[[job]]
name = "mine"
title = "two ways"
acts = ["chunked_prefill"]
ways = ["crowd", "streamed", "choices"]
samples = 3
[job.settings]
whole = { chunked_prefill = 0 }
cut = { chunked_prefill = 20 }
"""


def assay_run(text: str, directory: Path, **wishes: Any) -> Outcome:
    path = directory / "mine.toml"
    path.write_text(text)
    return run(read_wishes([str(path)], {"directory": directory / "runs"} | wishes))


def test_every_later_answer_is_held_against_the_first(tmp_path: Path) -> None:
    outcome = assay_run(FILE, tmp_path)
    assert outcome.code == 0, outcome
    checks = [filed.verdict.check for filed in outcome.filed]
    assert checks == [f"{name} = whole, crowd" for name in (
        "whole, streamed", "whole, choices", "cut, crowd", "cut, streamed", "cut, choices"
    )]  # fmt: skip


CHAT = """
[[job]]
name = "chat"
title = "streams and choices"
ways = ["crowd", "streamed", "choices"]
samples = 3
"""


@pytest.mark.parametrize(("target", "status"), [("ChatTarget", "pass"), ("LosingTarget", "fail")])
def test_any_server_that_speaks_chat_is_asked_for_streams_and_choices(target: str, status: str, tmp_path: Path) -> None:
    outcome = assay_run(CHAT, tmp_path, target=f"chat_target:{target}")
    found = {filed.verdict.check: filed.verdict.status for filed in outcome.filed}
    assert found == {f"as launched, {way} = as launched, crowd": status for way in ("streamed", "choices")}


def test_a_fault_that_the_setting_brings_out_turns_it_red(tmp_path: Path) -> None:
    outcome = assay_run(FILE, tmp_path, plant="F4-05")
    assert outcome.code == 1, outcome
    red = {filed.verdict.check for filed in outcome.filed if filed.verdict.status == "fail"}
    answers = {f"cut, {way} = whole, crowd" for way in ("crowd", "streamed", "choices")}
    assert red == {*answers, "every request answered (cut)"}


def test_a_setting_that_the_target_lacks_and_one_that_did_not_act_are_not_exercised(tmp_path: Path) -> None:
    outcome = assay_run(FILE.replace("= 20", "= 5000").replace(', "streamed", "choices"', ""), tmp_path)
    [filed] = outcome.filed
    assert filed.verdict.status == "not_exercised"
    assert "chunked_prefill acted in no answer" in filed.verdict.message
    assert outcome.code == 2


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('name = "mine"', 'name = "Mine!"', "name = 'Mine!': String should match"),
        ('title = "two ways"', "", "title: Field required"),
        ("= 20", '= "many"', "toggle chunked_prefill: 'many'"),
        ("chunked_prefill = 20", "chunks = 20", "unknown toggle 'chunks'"),
        ('"streamed"', '"backwards"', "ways.1 = 'backwards': Input should be"),
        ("samples", "sample", "sample = 3: Extra inputs"),
        ('["crowd", "streamed", "choices"]', "[]", "ways = []: Tuple should have at least 1 item"),
    ],
)
def test_a_mistake_is_refused_by_name_before_anything_starts(tmp_path: Path, old: str, new: str, told: str) -> None:
    with pytest.raises(UsageError) as refused:
        assay_run(FILE.replace(old, new), tmp_path)
    assert told in str(refused.value)
    assert not (tmp_path / "runs").exists()


def test_every_pair_of_settings_meets_in_some_launch() -> None:
    wishes = read_wishes([str(Path(__file__).parents[3] / "e2e/pairwise.toml")], {})
    declared = wishes.declared[0].declaration  # type: ignore[attr-defined]
    rows = list(launches(declared).values())
    offered = declared.pairwise
    for a in offered:
        for b in offered:
            for one in offered[a]:
                for other in offered[b] if a != b else ():
                    assert any(row[a] == one and row[b] == other for row in rows), (a, one, b, other)
    assert len(rows) < 12


def test_nothing_to_compare_is_refused() -> None:
    with pytest.raises(UsageError, match="there is nothing to compare"):
        declared_job({"name": "alone", "title": "nothing"}, "here")
    assert Declaration(name="a", title="b", ways=("crowd", "crowd")).ways == ("crowd", "crowd")
