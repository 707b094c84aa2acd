"""The set-up script where it must say no, and the promises that the README and CI make about it."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
SETUP = ROOT / "ci" / "setup.sh"


def set_up(tmp_path: Path, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "SETUP_VENV": str(tmp_path / "venv")} | environment
    return subprocess.run([SETUP, *command], env=environment, capture_output=True, text=True, timeout=60)


def test_an_interpreter_that_is_none_is_refused(tmp_path: Path) -> None:
    done = set_up(tmp_path, "true", SETUP_PYTHON="/bin/cat")
    assert done.returncode == 2
    assert done.stderr.strip() == "setup: SETUP_PYTHON=/bin/cat is not a Python 3.11 or later with venv and ensurepip"
    assert list(tmp_path.iterdir()) == []


def test_no_python_at_all_says_what_to_install(tmp_path: Path) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("sh", "cat", "cksum", "sed", "dirname", "mkdir", "rm", "date"):
        (tools / name).symlink_to(f"/usr/bin/{name}" if Path(f"/usr/bin/{name}").exists() else f"/bin/{name}")
    done = set_up(tmp_path, "true", PATH=str(tools))
    assert done.returncode == 2
    assert "no Python 3.11 or later" in done.stderr
    assert "set SETUP_PYTHON" in done.stderr


def test_a_lock_left_by_a_dead_process_is_taken_over(tmp_path: Path) -> None:
    lock = tmp_path / "venv.lock"
    lock.mkdir()
    ended = subprocess.Popen(["true"])
    ended.wait()
    (lock / "pid").write_text(str(ended.pid))
    done = set_up(tmp_path, "true", SETUP_PYTHON="/bin/cat")
    assert done.returncode == 2
    assert "another set-up" not in done.stderr
    assert not lock.exists()


@pytest.fixture(scope="module")
def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in pairs}


def test_everything_asked_for_is_pinned_at_a_version_that_fits(pins: dict[str, str]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    assert extras.pop("gpu") == ["triton>=3.5"], "every build of torch for GPUs brings the one triton that fits it"
    asked = [*project["dependencies"], *(line for extra in extras.values() for line in extra)]
    for requirement in map(Requirement, asked):
        if requirement.name == project["name"]:
            continue  # an extra that takes in another one of its own
        assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)]), requirement


def test_pins_name_no_build_and_no_place(pins: dict[str, str]) -> None:
    """A build such as +cpu would take other people's torch away; an address would not be theirs."""
    assert [name for name, version in pins.items() if not re.fullmatch(r"[0-9][0-9A-Za-z.]*", version)] == []


def test_readme_starts_with_two_commands_and_ci_runs_the_second() -> None:
    block = re.search(r"```\w*\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert block is not None
    main_job, tests = block.group(1).strip().splitlines()
    assert main_job == "ci/setup.sh assay run"
    assert tests == "ci/setup.sh pytest"
    assert f"stage tests {tests}\n" in (ROOT / ".ci" / "run").read_text()
