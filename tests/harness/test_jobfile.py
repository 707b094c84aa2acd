from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.jobfile import read_wishes

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


def test_a_missing_job_file_is_named() -> None:
    with pytest.raises(UsageError, match=r"no job file at nowhere\.toml"):
        read_wishes(["nowhere.toml"], {})
