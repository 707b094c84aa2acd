"""One ``assay run`` gone wrong on purpose: started, disturbed, and looked at afterwards from outside.

What is left is found by what the scene put into everything's surroundings (a variable, a folder for temporary files, a
name), not by what Assay itself goes by.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.records import load_record

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
TAG = "DRILL_TAG"
IN_FLIGHT = 8
"""Requests that may have been answered without Assay having seen the answer when it was killed."""
SECONDS_TO_CLEAR = 12.0


class Forker:
    """A process that starts ``assay`` commands; see ``forker.py``."""

    def __init__(self) -> None:
        path = os.pathsep.join([str(ROOT), str(HERE.parent)])
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "forker.py")],
            env={**os.environ, "PYTHONPATH": path},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.read()

    def read(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def start(self, order: dict[str, Any]) -> int:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        return int(self.read())

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(20)
        self.process.stdout.close()


@dataclass
class Scene:
    forker: Forker
    folder: Path
    model: Path
    tag: str = field(default_factory=lambda: f"drill-{uuid.uuid4().hex[:12]}")
    pid: int = 0
    over: bool = True

    def __post_init__(self) -> None:
        self.out, self.temporary, self.ledger = self.folder / "runs", self.folder / "tmp", self.folder / "ledger"
        self.temporary.mkdir()

    def start(
        self, arguments: list[str], flags: dict[str, list[str]], environment: dict[str, str], **limits: Any
    ) -> None:
        ledger = ["--ledger", str(self.ledger)]
        filled = {setting: [*ledger, *map(self.fill, more)] for setting, more in ({"*": []} | flags).items()}
        variables = {
            **os.environ,
            TAG: self.tag,
            "TMPDIR": str(self.temporary),
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(HERE.parent)]),
            "STANDIN_FLAGS": json.dumps(filled),
            **environment,
        }
        self.over = False
        self.pid = self.forker.start(
            {
                "arguments": [self.fill(argument) for argument in arguments],
                "environment": variables,
                "folder": str(self.folder),
                "stdout": str(self.folder / "stdout"),
                "stderr": str(self.folder / "stderr"),
                **limits,
            }
        )

    def fill(self, text: str) -> str:
        """The scene's own names in an argument."""
        names = {"{folder}": str(self.folder), "{tag}": self.tag, "{out}": str(self.out), "{model}": str(self.model)}
        for name, value in names.items():
            text = text.replace(name, value)
        return text

    def ended(self) -> int:
        """The exit code, once there is one."""
        code = int(self.forker.read())
        self.over = True
        return code

    def said(self) -> str:
        """Everything it printed, without the terminal's line breaks."""
        text = "".join((self.folder / name).read_text() for name in ("stdout", "stderr"))
        return re.sub(r"\s+", " ", text)

    def record(self) -> dict[str, Any] | None:
        """Whole or broken off; None where the run never came so far."""
        found = [*self.out.glob("*.json"), *self.out.glob("*.partial.jsonl")]
        assert len(found) <= 1, f"more than one record: {found}"
        return load_record(found[0]) if found else None

    def answers(self) -> int:
        record = self.record()
        return sum(event["event"] == "answer" for event in record["events"]) if record else 0

    def answered(self) -> int:
        return len(self.ledger.read_text().splitlines()) if self.ledger.exists() else 0

    def wait(self, what: Callable[[], object], seconds: float = 40.0) -> None:
        deadline = time.monotonic() + seconds
        while not what():
            assert time.monotonic() < deadline, f"nothing to disturb; it said: {self.said()}"
            time.sleep(0.05)

    def processes(self) -> dict[int, str]:
        """Command lines of everything that carries the tag, zombies not counted."""
        found = {}
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                tagged = f"{TAG}={self.tag}".encode() in (entry / "environ").read_bytes().split(b"\0")
                if tagged and (entry / "stat").read_text().rpartition(")")[2].split()[0] != "Z":
                    found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        return found

    def of(self, words: str) -> list[int]:
        """Processes of this scene whose command line holds ``words``."""
        return [pid for pid, line in self.processes().items() if words in line and pid != self.pid]

    def left_behind(self) -> list[str]:
        """What is there that was not before."""
        left = [f"process {pid}: {line[:120]}" for pid, line in self.processes().items()]
        left += [f"shared memory {path.name}" for path in Path("/dev/shm").glob(f"*{self.tag}*")]
        left += [f"container {box.short_id}, {box.status}" for box in self.containers()]
        return left + [f"temporary file {path.name}" for path in self.temporary.iterdir()]

    def containers(self) -> list[Any]:
        """There are none unless the scene is one of containers."""
        return []

    def left_after(self, seconds: float = SECONDS_TO_CLEAR) -> list[str]:
        deadline = time.monotonic() + seconds
        while (left := self.left_behind()) and time.monotonic() < deadline:
            time.sleep(0.05)
        return left

    def clear(self) -> None:
        """Whatever the drill has shown, leave nothing on this machine."""
        if not self.over:
            os.kill(self.pid, signal.SIGKILL)
            self.ended()
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for box in self.containers():
            box.remove(force=True)
        for path in Path("/dev/shm").glob(f"*{self.tag}*"):
            path.unlink()
