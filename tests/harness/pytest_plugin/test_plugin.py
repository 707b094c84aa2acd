"""The plugin in test runs of its own, on the stand-in engine: what passes, fails, skips, is left to another shard."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.github import error_line, error_lines, summary
from harness.pytest_plugin.choosing import shard
from harness.verdict import Filed, Verdict

HERE = Path(__file__).parents[1]
ROOT = HERE.parents[1]
TEST = """
import pytest
@pytest.mark.assay(suite="drift", est_time=20)
def test_drift(assay_job):
    assay_job("token-drift", samples=10)
@pytest.mark.assay(est_time=5, hardware="amd")
def test_on_amd(assay_job):
    raise AssertionError("ran")
@pytest.mark.assay(est_time=18)
def test_speed(assay_job):
    assay_job("performance")
def test_of_somebody_else():
    pass
"""


@dataclass
class Ran:
    """One pytest run: its exit code and what it printed, and the JUnit report's cases by name."""

    code: int
    output: str
    cases: dict[str, ElementTree.Element]

    def properties(self, test: str) -> list[tuple[str, str]]:
        return [(p.get("name", ""), p.get("value", "")) for p in self.cases[test].iter("property")]


PytestRun = Callable[..., Ran]


@pytest.fixture
def pytest_run(tmp_path: Path, checkpoint: Path) -> PytestRun:
    return lambda *options, **more: run_pytest(tmp_path, checkpoint, options, **more)


def run_pytest(
    directory: Path,
    checkpoint: Path,
    options: tuple[str, ...],
    flags: dict[str, list[str]] | None = None,
    github: bool = False,
) -> Ran:
    (directory / "test_mine.py").write_text(TEST)
    report = directory / "report.xml"
    environment = os.environ | {
        "PYTHONPATH": f"{ROOT}{os.pathsep}{HERE}",
        "STANDIN_FLAGS": json.dumps(flags or {}),
        "GITHUB_ACTIONS": "true" if github else "false",
    }
    environment = {name: value for name, value in environment.items() if not name.startswith("PYTEST_XDIST")}
    plugin = [] if "assay_jobs" in _entry_points() else ["-p", "harness.pytest_plugin"]
    command = [
        *(sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *plugin, f"--rootdir={directory}", str(directory)),
        *("-c", os.devnull, "-q", f"--junitxml={report}", "-o", "junit_family=xunit1", "--assay-hardware=cpu"),
        f"--assay-run=--target standin_target:StandinTarget --model {checkpoint}",
        *options,
    ]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=directory)
    cases = (
        {case.get("name", ""): case for case in ElementTree.parse(report).iter("testcase")} if report.exists() else {}
    )
    return Ran(done.returncode, done.stdout + done.stderr, cases)


def _entry_points() -> set[str]:
    from importlib.metadata import entry_points

    return set(entry_points(group="pytest11").names)


def test_a_job_that_passes_and_what_does_not_belong_here(pytest_run: PytestRun) -> None:
    ran = pytest_run("-k", "not speed")
    assert ran.code == 0, ran.output
    assert "2 passed, 1 skipped, 1 deselected" in ran.output
    found = Counter(name for name, _ in ran.properties("test_drift"))
    assert found["assay.pass"] >= 5
    assert found["assay.record"] == 1


def test_a_job_that_fails_stays_failed_and_its_flake_rate_is_told(pytest_run: PytestRun) -> None:
    flags = {"on": ["--avoid-retokenize", "off"]}
    ran = pytest_run("-k", "drift", "--assay-retries=1", flags=flags, github=True)
    assert ran.code == 1, ran.output
    properties = ran.properties("test_drift")
    assert ("assay.flake_rate", "failed 2 of 2") in properties
    assert any(name == "assay.fail" and "no token lost (on)" in value for name, value in properties)
    assert "::error title=token-drift::token-drift: no token lost (on): " in ran.output
    assert "Traceback" not in ran.output


KNOWN = """
[[divergence]]
target = "stand-in"
version = "*"
job = "token-drift"
check = "CHECK"
requests = ["*"]
reason = "it goes by way of text"
link = "sglang#26555"
expires = 9999-12-31
"""


@pytest.mark.parametrize(("check", "code"), [("*", 0), ("no token lost (on)", 1)])
def test_a_known_failure_is_called_so_and_is_not_red(
    pytest_run: PytestRun, checkpoint: Path, tmp_path: Path, check: str, code: int
) -> None:
    known = tmp_path / "known.toml"
    known.write_text(KNOWN.replace("CHECK", check))
    options = f"--assay-run=--target standin_target:StandinTarget --model {checkpoint} --known {known}"
    ran = pytest_run("-k", "drift", options, flags={"on": ["--avoid-retokenize", "off"]}, github=True)
    assert ran.code == code, ran.output
    told = dict(ran.properties("test_drift"))
    known_words = "[known of stand-in * until 9999-12-31: it goes by way of text (sglang#26555)]"
    assert told["assay.known_failure"].endswith(known_words)
    assert ("assay.fail" in told) == ("::error" in ran.output) == bool(code)
    assert "no token lost (on)" not in ran.output


def test_what_cannot_be_done_is_an_error_and_no_skip(pytest_run: PytestRun) -> None:
    ran = pytest_run("-k", "drift", flags={"*": ["--dies-at-start"]})
    assert ran.code == 1, ran.output
    assert "the stand-in cannot find its weights" in ran.output


def test_shards_share_out_everything_once(pytest_run: PytestRun) -> None:
    parts = [pytest_run(f"--assay-shard={k}/2", "--collect-only").output for k in (1, 2)]
    names = ["test_drift", "test_on_amd", "test_speed", "test_of_somebody_else"]
    assert [[name in part for name in names] for part in parts] == [
        [True, False, False, True],
        [False, True, True, False],
    ]
    assert pytest_run("--assay-shard=3/2").code == 4


def test_a_suite_is_chosen_and_times_are_not_measured_beside_others(pytest_run: PytestRun) -> None:
    assert "1/4 tests collected" in pytest_run("--assay-suite=drift", "--collect-only").output
    ran = pytest_run("-k", "speed", "-n1")
    assert "1 skipped" in ran.output, ran.output


def test_parts_are_about_equal() -> None:
    times = {f"test{i}": float(1 + i % 7) for i in range(50)}
    parts = [shard(times, k, 4) for k in range(1, 5)]
    loads = [sum(times[name] for name in part) for part in parts]
    assert max(loads) - min(loads) <= 1
    assert sorted(name for part in parts for name in part) == sorted(times)


def test_words_for_github_keep_their_line() -> None:
    assert error_line("a: b, c", "50%\nlost") == "::error title=a%3A b%2C c::50%25%0Alost"
    verdict = Verdict("x | y", "fail", "<b>\nlost", 6, "s")
    assert summary([Filed("j", verdict)]).splitlines()[2] == "| j | ✗ FAIL | x \\| y | &lt;b> lost |"


def test_github_is_told_of_failures_that_count() -> None:
    verdict = Verdict("x", "fail", "lost", 6, "s")
    filed = [Filed("j", verdict), Filed("j", verdict, drill=True), Filed("j", verdict, known="known of y")]
    assert list(error_lines(filed)) == ["::error title=j%3A x::lost"]
    assert [row.split(" | ")[1:] for row in summary(filed).splitlines()[2:]] == [
        ["✗ FAIL", "x", "lost |"],
        ["✗ red, as wanted (drill)", "x", "lost |"],
        ["✗ known failure", "x", "lost [known of y] |"],
    ]
