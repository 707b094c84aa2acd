"""Real processes: started, watched, ended, and never left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from processes import alive, gone_within, read_pid
from standin_target import StandinTarget

from harness.errors import LaunchError
from harness.launch import running
from harness.launch.process import ROOT, ServerProcess
from harness.targets.base import Launch

Start = Callable[..., ServerProcess]


@pytest.fixture
def start(checkpoint: Path, tmp_path: Path) -> Iterator[Start]:
    """Starts stand-ins; ends what a test left."""
    started: list[ServerProcess] = []

    def begin(*flags: str, ready: bool = True) -> ServerProcess:
        line = StandinTarget({"*": list(flags)}).launch_line(Launch(str(checkpoint), {"vit_batching": "per_item"}))
        process = ServerProcess("standin", line, tmp_path / f"server{len(started)}.log")
        started.append(process)
        process.start()
        if ready:
            wait_ready(process)
        return process

    yield begin
    for process in started:
        process.stop()


def wait_ready(*processes: ServerProcess, timeout: float = 20.0) -> None:
    running.wait_ready(processes, StandinTarget({}).ready_url, "/health", timeout)


def test_ready_then_stopped_with_its_children(start: Start, tmp_path: Path) -> None:
    process = start("--grandchild", str(tmp_path / "pid"))
    grandchild = read_pid(tmp_path / "pid")
    assert process.url.startswith("http://127.0.0.1:")
    assert 0 < process.seconds_to_ready < 20
    assert alive(grandchild)
    process.stop()
    assert gone_within(grandchild, 5)
    process.stop()


def test_a_server_that_ignores_sigterm_is_killed(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.launch.process.GRACE_SECONDS", 0.5)
    process = start("--ignores-sigterm")
    process.stop()
    assert process.ended() == "was ended by SIGKILL"


def test_death_at_start_is_told_with_the_telling_line(start: Start) -> None:
    process = start("--dies-at-start", ready=False)
    with pytest.raises(
        LaunchError, match=r"(?s)exit code 7.*ValueError: the stand-in cannot find its weights.*server0\.log"
    ):
        wait_ready(process)


def test_a_hang_at_start_ends_at_the_time_limit(start: Start) -> None:
    process = start("--hangs-at-start", ready=False)
    with pytest.raises(LaunchError, match="was not ready within 1 s"):
        wait_ready(process, timeout=1.0)


def test_the_one_that_dies_is_told_while_another_still_starts(start: Start) -> None:
    slow, dying = start("--hangs-at-start", ready=False), start("--dies-at-start", ready=False)
    began = time.monotonic()
    with pytest.raises(LaunchError, match="exit code 7"):
        wait_ready(slow, dying)
    assert time.monotonic() - began < 15


def test_a_command_that_does_not_exist_is_named(start: Start, tmp_path: Path) -> None:
    from harness.targets.base import LaunchLine

    process = ServerProcess("missing", LaunchLine(("/nowhere/engine",)), tmp_path / "missing.log")
    process.start()
    with pytest.raises(LaunchError, match="cannot run /nowhere/engine: No such file"):
        wait_ready(process)
    process.stop()


def test_engine_settings_of_the_callers_environment_do_not_leak_in(tmp_path: Path) -> None:
    from harness.targets.base import LaunchLine

    caller = {"ASSAY_VIT_BATCHING": "per_item", "PATH": "/bin"}
    process = ServerProcess("x", LaunchLine(("true",), {"ASSAY_X": "1"}), tmp_path / "x.log", inherited=caller)
    environment = process.environment()
    assert "ASSAY_VIT_BATCHING" not in environment
    assert (environment["ASSAY_X"], environment["PATH"]) == ("1", "/bin")


HOLDER = """
import sys, time
from pathlib import Path
from harness.launch.process import ServerProcess
from harness.targets.base import LaunchLine
process = ServerProcess("held", LaunchLine(tuple(sys.argv[2:])), Path(sys.argv[1]))
process.start()
time.sleep(600)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_server_ends_when_assay_is_killed(number: signal.Signals, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    body = f"import os, time, pathlib; pathlib.Path({str(pid_file)!r}).write_text(str(os.getpid())); time.sleep(600)"
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "log"), sys.executable, "-c", body]
    holder = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)})
    server = read_pid(pid_file)
    assert alive(server)
    holder.send_signal(number)
    holder.wait(10)
    assert gone_within(server, 8)
