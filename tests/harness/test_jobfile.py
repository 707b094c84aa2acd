from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.jobfile import read_wishes

ROOT = Path(__file__).parents[2]
FILE = """
jobs = ["token-drift"]
samples = 5
[toggles]
chunked_prefill = 7
"""


def test_a_job_file_gives_wishes_and_the_command_line_wins(tmp_path: Path) -> None:
    path = tmp_path / "chunked.toml"
    path.write_text(FILE)
    wishes = read_wishes([str(path)], {"samples": 9, "toggles": ["vit_batching=per_item"], "quiet": True})
    assert wishes.jobs == ["token-drift"]
    assert wishes.samples == 9
    assert wishes.toggles == ["chunked_prefill=7", "vit_batching=per_item"]
    assert read_wishes([str(path)], {}).samples == 5


@pytest.mark.parametrize(
    ("content", "told"),
    [("sampels = 3", "unknown key 'sampels'"), ("samples = 'many'", "wrong type"), ("samples =", "Invalid value")],
)
def test_a_wrong_job_file_is_refused(tmp_path: Path, content: str, told: str) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(content)
    with pytest.raises(UsageError, match=told):
        read_wishes([str(path)], {})


WARM, CHOICES = (str(ROOT / f"e2e/{name}.toml") for name in ("warm-cold", "choices"))


def test_jobs_of_several_files_are_one_run() -> None:
    wishes = read_wishes([WARM, CHOICES], {})
    assert wishes.jobs == ["warm-cold", "choices"]
    assert [job.name for job in wishes.declared] == ["warm-cold", "choices"]


def test_jobs_are_run_beside_a_files_own_unless_they_are_of_it() -> None:
    assert read_wishes([WARM, "hostile"], {}).jobs == ["hostile", "warm-cold"]
    assert read_wishes([WARM, CHOICES, "choices"], {}).jobs == ["choices"]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (FILE, r"other\.toml and .*warm-cold\.toml differ in toggles, samples: run them one at a time"),
        ("samples = 3", r"other\.toml names no job: run it by itself"),
        (Path(WARM).read_text(encoding="utf-8"), r"another file declares warm-cold, too"),
    ],
)
def test_files_that_cannot_be_one_run_are_refused(tmp_path: Path, content: str, told: str) -> None:
    other = tmp_path / "other.toml"
    other.write_text(content, encoding="utf-8")
    with pytest.raises(UsageError, match=told):
        read_wishes([WARM, str(other)], {})


def test_a_missing_job_file_is_named() -> None:
    with pytest.raises(UsageError, match=r"no job file at nowhere\.toml"):
        read_wishes(["nowhere.toml"], {})
