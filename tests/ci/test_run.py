"""What CI runs: every stage even where one failed, and in the time it has, saying what was left out."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SUITES = sorted(path.stem for path in (ROOT / "ci/suites").glob("*.sh"))


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The real script, with stages that do nothing but say who they are."""
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci/run", tmp_path / ".ci/run")
    write(tmp_path / "ci/setup.sh", 'exec "$@"')
    for name in SUITES:
        write(tmp_path / f"ci/suites/{name}.sh", f"echo {name} ran")
    write(tmp_path / "ci/static.sh", "echo static ran")
    write(tmp_path / "bin/pytest", "echo tests ran")
    return tmp_path


def write(path: Path, line: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{line}\n", encoding="utf-8")
    path.chmod(0o755)


def run(copy: Path, seconds: int = 5000) -> tuple[int, str]:
    environment = {"PATH": f"{copy}/bin:/usr/bin:/bin", "CI_SECONDS": str(seconds)}
    done = subprocess.run([copy / ".ci/run"], env=environment, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout


def test_every_suite_is_run_once(copy: Path) -> None:
    code, told = run(copy)
    assert code == 0
    for name in ["tests", "static", *SUITES]:
        assert told.count(f"{name} ran") == 1, told
        assert f"=== {name}: passed in" in told
    assert "left out" not in told


def test_a_stage_that_fails_stops_no_other_and_is_named(copy: Path) -> None:
    write(copy / "ci/suites/fuzz.sh", "exit 3")
    code, told = run(copy)
    assert code == 1
    assert "=== fuzz: FAILED with exit code 3" in told
    assert "real_engines ran" in told
    assert told.endswith("FAILED: fuzz\n")


def test_what_does_not_fit_into_the_time_is_left_out_and_told(copy: Path) -> None:
    write(copy / "ci/suites/kernels.sh", "sleep 40")
    code, told = run(copy, seconds=3)
    assert code == 0
    assert "fuzz ran" in told
    assert "=== kernels: NOT FINISHED" in told
    assert "=== slow: NOT RUN, no time left" in told
    assert "left out for want of time: kernels main_job properties slow real_engines\n" in told


def test_the_first_stages_may_not_be_left_out(copy: Path) -> None:
    write(copy / "bin/pytest", "sleep 40")
    code, told = run(copy, seconds=2)
    assert code == 1
    assert "=== static: NOT RUN" in told
    assert told.endswith("FAILED: tests or static, which did not come to their end\n")


def test_no_test_is_begun_when_other_engines_are_due(copy: Path) -> None:
    write(copy / "ci/suites/slow.sh", 'echo "ends in $((TESTS_END - $(date +%s)))"')
    write(copy / "ci/suites/real_engines.sh", 'echo "engines: ${TESTS_END:-no end}"')
    told = run(copy, seconds=5000)[1]
    left = int(told.partition("ends in ")[2].split()[0])
    assert 3550 <= left <= 3600
    assert "engines: no end" in told


def test_tests_that_are_left_out_are_counted() -> None:
    command = [sys.executable, "-m", "pytest", "-n0", "-p", "no:cacheprovider", "tests/ci/test_matrix.py"]
    environment = os.environ | {"TESTS_END": "0"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert re.search(r"\d tests NOT RUN: the time of TESTS_END is up", done.stdout), done.stdout
    assert "passed" not in done.stdout
