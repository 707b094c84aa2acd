from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.targets import find_target
from harness.targets.divergences import SHIPPED, in_the_light_of, read_divergences
from harness.verdict import Filed, Status, Verdict, exit_code

LINE = """
[[divergence]]
target = "vllm"
version = "0.32.*"
job = "hostile"
check = "answers"
reason = "as reported"
link = "vllm#1"
expires = 2027-03-01
requests = ["a bomb", "messages is *"]
"""
BEFORE, AFTER = date(2027, 3, 1), date(2027, 3, 2)


def judged(
    directory: Path,
    status: Status,
    today: date = BEFORE,
    *,
    version: str = "0.32.0",
    job: str = "hostile",
    request: str = "a bomb",
    check: str = "answers",
) -> Filed:
    path = directory / "known.toml"
    path.write_text(LINE.replace('"answers"', f'"{check}"'))
    target = find_target("vllm")
    target.version = version
    wrong = [{"request": request}] if status == "fail" else []
    filed = Filed(job, Verdict("answers", status, "3 of 4", 17, "vllm#1", evidence={"wrong": wrong}))
    return in_the_light_of(read_divergences(path), target, filed, today)


def test_a_known_failure_is_shown_and_does_not_count(tmp_path: Path) -> None:
    filed = judged(tmp_path, "fail")
    assert filed.known == "known of vllm 0.32.* until 2027-03-01: as reported (vllm#1)"
    assert filed.verdict.status == "fail"
    assert exit_code([filed]) == 2
    assert exit_code([filed, Filed("j", Verdict("x", "pass", "", 1, ""))]) == 0


def test_a_pattern_excuses_all_requests_that_it_fits(tmp_path: Path) -> None:
    assert judged(tmp_path, "fail", request="messages is null").known
    assert judged(tmp_path, "fail", request="messages left out").known is None


def test_a_pattern_stands_for_all_checks_that_it_fits(tmp_path: Path) -> None:
    assert judged(tmp_path, "fail", check="ans*").known
    assert judged(tmp_path, "fail", check="ans").known is None


def test_after_its_last_day_it_counts_again_and_says_why(tmp_path: Path) -> None:
    filed = judged(tmp_path, "fail", AFTER)
    assert filed.known is None
    assert "no longer excused, known of vllm 0.32.* until 2027-03-01" in filed.verdict.message
    assert exit_code([filed]) == 1


def test_one_that_passes_is_told(tmp_path: Path) -> None:
    filed = judged(tmp_path, "pass")
    assert filed.verdict.message.startswith("3 of 4 [passes; take out the line known of vllm 0.32.*")
    assert exit_code([filed]) == 0


@pytest.mark.parametrize("other", [{"version": "0.33.0"}, {"job": "differential"}, {"request": "another one"}])
def test_other_releases_jobs_and_requests_are_not_excused(tmp_path: Path, other: dict[str, str]) -> None:
    assert judged(tmp_path, "fail", **other).known is None  # type: ignore[arg-type]
    assert exit_code([judged(tmp_path, "fail", **other)]) == 1  # type: ignore[arg-type]


def light(directory: Path, evidence: dict[str, object], *lines: str, today: date = BEFORE) -> Filed:
    """A failure of "answers" in the light of several lines, in their order."""
    path = directory / "known.toml"
    path.write_text("".join(lines))
    target = find_target("vllm")
    target.version = "0.32.0"
    filed = Filed("hostile", Verdict("answers", "fail", "3 of 4", 17, "vllm#1", evidence=evidence))
    return in_the_light_of(read_divergences(path), target, filed, today)


@pytest.mark.parametrize("evidence", [{}, {"wrong": []}, {"lost": ["another one"]}])
def test_a_line_of_requests_excuses_nothing_where_none_are_named(tmp_path: Path, evidence: dict[str, object]) -> None:
    assert light(tmp_path, evidence, LINE).known is None
    assert light(tmp_path, evidence, LINE.partition("requests")[0]).known


def test_a_later_line_renews_one_whose_last_day_is_past(tmp_path: Path) -> None:
    evidence = {"wrong": [{"request": "a bomb"}]}
    renewed = LINE.replace("2027-03-01", "2027-09-01")
    assert light(tmp_path, evidence, LINE, today=AFTER).known is None
    assert (light(tmp_path, evidence, LINE, renewed, today=AFTER).known or "").startswith(
        "known of vllm 0.32.* until 2027-09-01"
    )


def test_lines_add_up_and_excuse_nothing_beyond(tmp_path: Path) -> None:
    evidence = {"wrong": [{"request": "a bomb"}, {"request": "a flood"}]}
    more = LINE.replace("a bomb", "a flood").replace("vllm#1", "ours#2")
    assert light(tmp_path, evidence, LINE).known is None
    assert (light(tmp_path, evidence, LINE, more).known or "").count("until 2027-03-01") == 2
    evidence["wrong"].append({"request": "a quake"})
    filed = light(tmp_path, evidence, LINE, more)
    assert filed.known is None
    assert "[excuses other requests, known of vllm" in filed.verdict.message


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("expires = 2027-03-01", 'expires = "soon"', r"divergence 1: expires = 'soon': a date is needed"),
        ('link = "vllm#1"', "", r"divergence 1: link = None: a str is needed"),
        ('link = "vllm#1"', 'link = "vllm#1"\nbecause = "x"', r"divergence 1: unknown key 'because'; known: target, "),
        ("[[divergence]]", "[[divergence", "known.toml: "),
        ("[[divergence]]", "[divergence]", r"known.toml: divergence = {.*}: tables are needed, each headed by \[\[div"),
        ("[[divergence]]", "[[divergences]]", r"known.toml: unknown key 'divergences'; known: divergence$"),
        ("[[divergence]]", "divergence = 7\n[x]", r"known.toml: unknown key 'x'"),
        ('"a bomb"', "7", r"divergence 1: requests = \[7, 'messages is \*'\]: a list of str is needed"),
        ("as reported", "é", r"known.toml: 'utf-8' codec can't decode"),
    ],
)
def test_a_line_that_is_not_whole_is_refused(tmp_path: Path, old: str, new: str, told: str) -> None:
    path = tmp_path / "known.toml"
    path.write_bytes(LINE.replace(old, new).encode("latin-1"))
    with pytest.raises(UsageError, match=told):
        read_divergences(path)


def test_the_shipped_lines_are_whole_and_of_targets_that_exist() -> None:
    for one in read_divergences(SHIPPED):
        assert find_target(one.target).name == one.target
