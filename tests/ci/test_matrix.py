from __future__ import annotations

import importlib.util
import json
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def matrix() -> ModuleType:
    spec = importlib.util.spec_from_file_location("ci_matrix", ROOT / "ci" / "matrix.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_entry_becomes_one_job_that_sets_itself_up(matrix: ModuleType) -> None:
    jobs = json.loads(matrix.as_json())["include"]
    assert {job["vendor"] for job in jobs} == {"none", "nvidia", "amd"}
    assert len({job["name"] for job in jobs}) == len(jobs) <= 256
    for job in jobs:
        assert all(line.startswith("ci/setup.sh ") for line in job["commands"].splitlines()[1:-1])


def test_a_suite_that_fails_hides_no_later_one(matrix: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "matrix.toml").write_text(
        '[[entry]]\nname = "x"\nvendor = "none"\nrunner = "y"\ntorch = ""\nverified = "never"\n'
        'commands = ["false", "echo second", "sh -c \'exit 3\'"]\n'
    )
    (tmp_path / "ci").mkdir()
    setup = tmp_path / "ci/setup.sh"
    setup.write_text('#!/bin/sh\nexec "$@"\n')
    setup.chmod(0o755)
    [job] = json.loads(matrix.as_json(tmp_path / "matrix.toml"))["include"]
    done = subprocess.run(
        ["bash", "-e", "-c", job["commands"]], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stdout == "second\nFAILED: false sh\n"


def test_scripts_that_the_matrix_names_exist(matrix: ModuleType) -> None:
    scripts = {command.split()[0] for entry in matrix.entries() for command in entry["commands"]}
    assert {script for script in scripts if not (ROOT / script).is_file()} == set()


def test_a_misspelled_key_is_named(matrix: ModuleType, tmp_path: Path) -> None:
    wrong = tmp_path / "matrix.toml"
    entry = 'name = "x"\nvendor = "none"\nrunnner = "y"\ntorch = ""\ncommands = []\nverified = "never"\n'
    wrong.write_text(f"[[entry]]\n{entry}")
    with pytest.raises(ValueError, match=r"entry 0 \(x\): check \['runner', 'runnner'\]"):
        matrix.entries(wrong)
