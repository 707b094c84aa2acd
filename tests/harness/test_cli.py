"""The command as a person runs it: a process of its own, its exit code, what it prints and what it leaves on disk."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

import pytest
from processes import gone_within, read_pid

from harness import cli
from harness.cli import main
from harness.jobs import JOBS, MORE
from harness.records import load_record

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


def test_whatever_of_the_extra_is_missing_it_is_named() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    needed = {re.split("[<>=]", line)[0].replace("-", "_") for line in extras["engine"]}
    assert needed == set(cli.ENGINE_PACKAGES)


def command(checkpoint: Path, out: Path, *arguments: str) -> list[str]:
    target = ["--target", "standin_target:StandinTarget", "--model", str(checkpoint), "--out", str(out)]
    return [sys.executable, "-m", "harness", "run", *arguments, *target]


def environment(flags: dict[str, list[str]] | None = None) -> dict[str, str]:
    path = os.pathsep.join([str(ROOT), str(HERE)])
    return {**os.environ, "PYTHONPATH": path, "STANDIN_FLAGS": json.dumps(flags or {}), "COLUMNS": "140"}


def assay(checkpoint: Path, out: Path, *arguments: str, flags: dict[str, list[str]] | None = None) -> Any:
    line = command(checkpoint, out, *arguments)
    return subprocess.run(line, env=environment(flags), capture_output=True, text=True, timeout=90, cwd=out.parent)


def test_a_run_prints_verdicts_and_leaves_a_record_and_a_page(checkpoint: Path, tmp_path: Path) -> None:
    done = assay(checkpoint, tmp_path / "runs", "token-drift", "--samples", "6")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "✓ pass" in done.stdout
    assert "drift as computed (off)" in done.stdout
    assert "asking off" in done.stderr
    (record,) = (tmp_path / "runs").glob("*.json")
    assert f"record  {record}" in done.stdout
    assert record.with_suffix(".html").read_text().startswith("<!doctype html>")
    events = load_record(record)["events"]
    run = events[0]
    assert (run["event"], run["seed"], run["target"]) == ("run", 0, "stand-in")
    assert {"versions", "hardware", "git", "command"} <= run.keys()
    launches = [event for event in events if event["event"] == "launch"]
    assert [launch["toggles"] for launch in launches] == [{"avoid_retokenize": "off"}, {"avoid_retokenize": "on"}]


@pytest.mark.parametrize("command", ["load", "ab"])
def test_a_command_without_jobs_that_take_a_fault_offers_none(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([command, "--plant", "F1-01"])
    assert "--plant" not in capsys.readouterr().err.partition("error:")[0]


def test_json_and_quiet_leave_only_json(checkpoint: Path, tmp_path: Path) -> None:
    done = assay(
        checkpoint, tmp_path / "runs", "vit-batching", "--samples", "8", "--plant", "F1-01", "--json", "--quiet"
    )
    assert done.returncode == 1, done.stderr
    assert done.stderr == ""
    summary = json.loads(done.stdout)
    assert summary["exit_code"] == 1
    failed = [verdict["message"] for verdict in summary["verdicts"] if verdict["status"] == "fail"]
    assert any("image 1" in message and "placeholders" in message for message in failed)


def test_a_server_that_dies_at_start_ends_with_2_and_a_record(checkpoint: Path, tmp_path: Path) -> None:
    done = assay(checkpoint, tmp_path / "runs", "token-drift", flags={"*": ["--dies-at-start"]})
    assert done.returncode == 2
    assert "ValueError: the stand-in cannot find its weights" in done.stdout
    (record,) = (tmp_path / "runs").glob("*.json")
    assert any(event["event"] == "problem" for event in load_record(record)["events"])


def test_a_server_that_dies_later_is_red_and_keeps_the_answers_it_gave(checkpoint: Path, tmp_path: Path) -> None:
    done = assay(checkpoint, tmp_path / "runs", "token-drift", "--samples", "8", flags={"on": ["--dies-after", "3"]})
    assert done.returncode == 1
    assert "server on ended with exit code 3" in " ".join(done.stdout.split())
    (record,) = (tmp_path / "runs").glob("*.json")
    assert sum(event["event"] == "answer" for event in load_record(record)["events"]) >= 8


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["token-drfit"], "unknown job 'token-drfit'; known: token-drift, vit-batching"),
        (["--toggle", "warp=on"], "unknown toggle 'warp'; known: avoid_retokenize"),
        (["--toggle", "avoid_retokenize=on"], "job token-drift compares its settings itself"),
        (["--target", "sglong"], "unknown target 'sglong'; known: reference"),
        (["--model", "gpt-9"], "gpt-9"),
        (["--samples", "0"], "--samples 0: at least 1"),
        (["token-drift", "--plant", "F1-01"], "those that do: vit-batching"),
        (["nowhere.toml"], "no job file at nowhere.toml"),
    ],
)
def test_bad_wishes_end_with_2_and_start_nothing(
    arguments: list[str], told: str, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    defaults = ["--model", str(checkpoint), "--out", str(tmp_path / "runs")]
    assert main(["run", *defaults, *arguments]) == 2
    assert told in capsys.readouterr().err.replace("\n", " ")
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("number", "ctrl_c"),
    [(signal.SIGINT, signal.SIG_DFL), (signal.SIGTERM, signal.SIG_DFL), (signal.SIGTERM, signal.SIG_IGN)],
)
def test_an_interrupt_ends_servers_and_keeps_the_partial_record(
    number: signal.Signals, ctrl_c: signal.Handlers, checkpoint: Path, tmp_path: Path
) -> None:
    """What a script starts with ``&`` begins with Ctrl-C ignored."""
    out, pid_file = tmp_path / "runs", tmp_path / "pid"
    flags = {"*": ["--delay", "0.5"], "on": ["--grandchild", str(pid_file)]}
    running = subprocess.Popen(
        command(checkpoint, out, "token-drift"), env=environment(flags), stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, ctrl_c),
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        partials = list(out.glob("*.partial.jsonl"))
        if partials and '"event": "answer"' in partials[0].read_text():
            break
        time.sleep(0.1)
    running.send_signal(number)
    _, errors = running.communicate(timeout=20)
    assert running.returncode == 130
    assert b"interrupted" in errors
    (partial,) = out.glob("*.partial.jsonl")
    assert any(event["event"] == "answer" for event in load_record(partial)["events"])
    assert not list(out.glob("*.json"))
    assert gone_within(read_pid(pid_file), 5)
    assert main(["report", str(partial)]) == 0
    assert "The run was interrupted" in partial.with_suffix(".html").read_text()


def test_report_refuses_what_is_no_record(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(tmp_path / "none.json")]) == 2
    assert "no record at" in capsys.readouterr().err


def test_version_names_what_runs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["version"]) == 0
    assert "torch" in capsys.readouterr().out


def test_help_names_every_shipped_job() -> None:
    told = [words.partition(": ")[2].split(", ") for words in cli.JOB_NAMES.rstrip(".").split(". ")]
    assert told == [list(JOBS), list(MORE)]


def test_bad_usage_is_2() -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["run", "--samples", "many"])
    assert stopped.value.code == 2
