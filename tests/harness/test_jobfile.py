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
    [
        ("sampels = 3", "unknown key 'sampels'"),
        ("samples = 'many'", "samples = 'many' has the wrong type"),
        ("samples =", "Invalid value"),
        ('model = "é"', "'utf-8' codec can't decode"),
        ('jobs = [["a"]]', r"jobs = \[\['a'\]\] has the wrong type"),
        ("engine_args = [1]", r"engine_args = \[1\] has the wrong type"),
        ('job = ["x"]', r"job = \['x'\]: tables are needed, each headed by \[\[job\]\]"),
        ('[job]\nname = "x"', "job = {'name': 'x'} has the wrong type"),
        ('[[job]]\nname = "x"\ntitle = "y"\nsamples = "z"', "job x: samples = 'z': Input should be a valid integer"),
        ('[[job]]\nname = "x"', "job x: title: Field required"),
        ('[[job]]\nname = "x"\ntitle = "y"\nacts = ["warp"]', "job x: unknown toggle 'warp'"),
        ("[place]\nurls = []", r"\[place\] has no 'urls'; known: url, "),
        ('[place]\nurl = "http://h"', r"\[place\] url = 'http://h': "),
        ("[place]\ndevices = 0", r"\[place\] devices = 0: Input should be a valid string"),
        ('[place]\npull = "yes"', r"\[place\] pull = 'yes': "),
    ],
)
def test_a_wrong_job_file_is_refused(tmp_path: Path, content: str, told: str) -> None:
    path = tmp_path / "wrong.toml"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(UsageError, match=rf"wrong\.toml: {told}"):
        read_wishes([str(path)], {})


WARM, CHOICES = (str(ROOT / f"e2e/{name}.toml") for name in ("warm-cold", "choices"))


def test_jobs_of_several_files_are_one_run() -> None:
    wishes = read_wishes([WARM, CHOICES], {})
    assert wishes.jobs == ["warm-cold", "choices"]
    assert [job.name for job in wishes.declared] == ["warm-cold", "choices"]


def test_jobs_are_run_beside_a_files_own() -> None:
    assert read_wishes([WARM, "hostile"], {}).jobs == ["hostile", "warm-cold"]


def test_a_named_job_of_a_file_is_chosen_of_that_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "two.toml"
    path.write_text('jobs = ["hostile", "soak"]')
    two = str(path)
    assert read_wishes([two, "soak"], {}).jobs == ["soak"]
    assert read_wishes([two, "soak", "load"], {}).jobs == ["load", "soak"]
    assert read_wishes([WARM, CHOICES, "warm-cold"], {}).jobs == ["warm-cold", "choices"]
    assert read_wishes([WARM, two, "soak"], {}).jobs == ["warm-cold", "soak"]


def test_what_a_place_may_hold_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "place.toml"
    path.write_text('[place]\nurl = ["http://h"]\nimage = "i"\ndevices = "0"\npull = true\nvendor = "amd"')
    place = read_wishes([str(path)], {}).place
    assert (place.url, place.devices, place.pull, place.vendor) == (["http://h"], "0", True, "amd")


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
