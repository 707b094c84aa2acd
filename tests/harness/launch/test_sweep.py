"""What the sweep takes of a temporary folder that others use, too."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from harness.launch.processes import identity
from harness.launch.scratch import Scratch
from harness.launch.sweep import sweep


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which servers have theirs."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def guard_that_ended() -> str:
    with subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE) as guard:
        return identity(guard.pid)


def test_only_what_a_guard_that_is_gone_has_left_is_taken(shared: Path) -> None:
    gone, lives = Scratch(guard_that_ended()).path, Scratch(identity(os.getpid())).path
    assert f"folder {gone}" in sweep()
    assert list(shared.iterdir()) == [lives]


@pytest.mark.parametrize("name", ["foo", "", "1.2.3.4", "-1.0.0", "12.x.7"])
def test_a_folder_that_is_called_alike_is_left_alone(name: str, shared: Path) -> None:
    other = Scratch(name).path
    sweep()
    assert other.is_dir()


def test_another_containers_folder_is_left_alone(shared: Path) -> None:
    """Its guard is not to be seen from here, and may live."""
    pid, start, namespace = guard_that_ended().split(".")
    other = Scratch(f"{pid}.{start}.{int(namespace) + 1}").path
    sweep()
    assert other.is_dir()
