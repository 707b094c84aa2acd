from __future__ import annotations

import importlib.util
import json
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
        assert all(command.startswith("ci/setup.sh ") for command in job["commands"].split(" && "))


def test_scripts_that_the_matrix_names_exist(matrix: ModuleType) -> None:
    scripts = {command.split()[0] for entry in matrix.entries() for command in entry["commands"]}
    assert {script for script in scripts if not (ROOT / script).is_file()} == set()


def test_a_misspelled_key_is_named(matrix: ModuleType, tmp_path: Path) -> None:
    wrong = tmp_path / "matrix.toml"
    entry = 'name = "x"\nvendor = "none"\nrunnner = "y"\ntorch = ""\ncommands = []\nverified = "never"\n'
    wrong.write_text(f"[[entry]]\n{entry}")
    with pytest.raises(ValueError, match=r"entry 0 \(x\): check \['runner', 'runnner'\]"):
        matrix.entries(wrong)
