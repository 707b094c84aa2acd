"""The whole command once, small, with the contestants that this environment has."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.cli import main

QUICK = ["serving", "text", "vit_batching", "avoid_retokenize", "reuse_processor_output", "native_decode"]


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_a_quick_benchmark_times_whoever_gives_the_right_answers(tmp_path: Path) -> None:
    arguments = ["--quick", "--cache", str(tmp_path / "cache"), "--out", str(tmp_path / "out")]
    assert main(["bench", *QUICK, *arguments]) == 0
    record = json.loads((tmp_path / "out" / "bench.json").read_text())
    for entry in record["entries"]:
        seats = {one["seat"]["name"]: one for one in entry["seats"]}
        assert not [one["note"] for one in seats.values() if one["status"] == "other answers"]
        assert entry["seats"][0]["status"] == "timed"
        assert len(entry["seats"][0]["rounds"]) == 2
        assert all(round_["cpu_seconds"] > 0 for round_ in entry["seats"][0]["rounds"].values())
    assert record["entries"][0]["seats"][2]["status"] == "timed"
    share = record["measures"]["matrix products in the serving entry"]["share of operator time"]
    assert 0 < share < 1
    assert (tmp_path / "out" / "bench.html").stat().st_size > 1000


def test_an_interpreter_of_no_contestant_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--python", "rival=/bin/sh"]) == 2
    assert "kinds: ours" in " ".join(capsys.readouterr().err.split())
