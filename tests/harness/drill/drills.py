"""The fault drill as a table: how a launch or a run goes wrong, with which exit code it must end, what must be said.

An engine that never becomes ready could not be tested: 2. One that was ready, and dies or hangs under requests that it
must answer, has failed: 1. What Assay itself does wrong, or somebody does to it, is never held against the engine.
That nothing is left behind and no answer lost is asked of all of them.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from scene import Scene

Flags = Mapping[str, list[str]]
RUN = ["run", "token-drift", "--samples", "6", "--target", "standin_target:StandinTarget"]
PLACES = ["--model", "{model}", "--out", "{out}"]
TRACEBACK = 'Traceback (most recent call last):\n  File "engine.py", line 3, in <module>\n'


@dataclass(frozen=True)
class Drill:
    name: str
    told: str
    """A pattern that what is printed must match."""
    code: int = 2
    flags: Flags = field(default_factory=dict)
    """Of the stand-in, by setting; ``*`` for all."""
    more: tuple[str, ...] = ()
    disturb: Callable[[Scene], None] = lambda scene: None
    limits: Mapping[str, Any] = field(default_factory=dict)
    answers: int = 0
    """At least that many must be in the record."""
    instead: tuple[str, ...] = ()
    """A command line in place of the usual one."""
    sweep: bool = False
    """Whether what is left is for ``assay sweep``."""

    @property
    def arguments(self) -> list[str]:
        return list(self.instead) or [*RUN, *PLACES, *self.more]


def says(text: str, how: str = "1") -> Flags:
    """A server that writes ``text`` and ends."""
    return {"*": ["--says", text, "--ends-at-start", how]}


def after(requests: int, then: str) -> Flags:
    return {"on": ["--after", str(requests), "--then", then]}


def while_asking(*numbers: signal.Signals, pause: float = 1.0) -> Callable[[Scene], None]:
    """Signals to Assay once answers come in."""

    def disturb(scene: Scene) -> None:
        scene.wait(lambda: scene.answers() >= 2)
        for number in numbers:
            with suppress(ProcessLookupError):
                os.kill(scene.pid, number)
            time.sleep(pause if len(numbers) > 1 else 0)

    return disturb


def while_starting(scene: Scene) -> None:
    scene.wait(lambda: scene.of("standin.py"))
    os.kill(scene.pid, signal.SIGINT)


def kill(words: str, without: str = "\0") -> Callable[[Scene], None]:
    """SIGKILL to the processes of the scene with ``words`` in their command lines, once answers come in."""

    def disturb(scene: Scene) -> None:
        scene.wait(lambda: scene.answers() >= 2)
        for pid in set(scene.of(words)) - set(scene.of(without)):
            os.kill(pid, signal.SIGKILL)

    return disturb


def kill_guards_and_assay(scene: Scene) -> None:
    scene.wait(lambda: scene.answers() >= 2)
    for pid in [*scene.of("harness.launch.guard"), scene.pid]:
        os.kill(pid, signal.SIGKILL)


SLOW: Flags = {"*": ["--delay", "0.4"]}
ESCAPES = ["--escapes", "{folder}/escaped"]
LEAKS = ["--leaks-memory", "{tag}"]
PASSED = "passed in"
INTERRUPTED = "interrupted; servers are ended, what was measured is in the partial record"

START = (
    Drill("exit 1 at start", r"exit code 1 .*No module named 'flashinfer' what to do: .*--python",
          flags=says(TRACEBACK + "ModuleNotFoundError: No module named 'flashinfer'")),
    Drill("killed at start (137)", "was ended by SIGKILL; if nobody did that, the kernel did, for memory",
          flags=says("loading", "SIGKILL")),
    Drill("crash at start (139)", "was ended by SIGSEGV", flags=says("loading", "SIGSEGV")),
    Drill("card's memory full at start", "CUDA out of memory.*the card's memory is full",
          flags=says(TRACEBACK + "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 9 GiB")),
    Drill("port in use at start", "address already in use.*`ss -ltnp` names who holds it",
          flags=says("[Errno 98] error while attempting to bind on address ('0.0.0.0', 8000): address already in use")),
    Drill("argument the engine does not know", "unrecognized arguments: --frob.*does not know that argument",
          flags=says("api_server.py: error: unrecognized arguments: --frob")),
    Drill("hang at start", r"not ready within 2 s: it has not told an address; raise --startup-timeout.*shards",
          flags={"*": ["--says", "loading shards 1/9", "--hangs-at-start"]}, more=("--startup-timeout", "2")),
    Drill("no log at all", r"not ready within 2 s.*\(the log is empty\)",
          flags={"*": ["--silent"]}, more=("--startup-timeout", "2")),
    Drill("log flood, then exit 1", "ValueError: the stand-in cannot find its weights",
          flags={"*": ["--floods-log", "24", "--dies-at-start"]}),
    Drill("unhealthy for ever", r"not ready within 3 s: at http://127.0.0.1:\d+, /health answered 503",
          flags={"*": ["--unhealthy"]}, more=("--startup-timeout", "3")),
    Drill("port answered by another server", r"port \d+ is answered by process \d+ .*http.server.* not by this server",
          flags={"*": ["--claims", "{other}"]}),
    Drill("no such interpreter", "cannot run /nowhere/python", more=("--python", "/nowhere/python")),
    Drill("attached server that is not there", r"not ready within 1 s: at http://127.0.0.1:9, /health gave ConnectErr",
          more=("--url", "off=http://127.0.0.1:9", "--url", "on=http://127.0.0.1:9", "--startup-timeout", "1")),
)  # fmt: skip

USAGE = (
    Drill("model missing", "model: /nowhere has no checkpoint|/nowhere", more=("--model", "/nowhere")),
    Drill("unknown toggle", "unknown toggle 'warp'; known:", more=("--toggle", "warp=on")),
    Drill("key that is not in the environment", "give the name of an environment variable",
          more=("--url", "http://127.0.0.1:9", "--api-key", "sk-secret")),
    Drill("read-only output folder", "--out /sys/kernel/runs: no record can be written there: Operation not permitted",
          instead=(*RUN, "--model", "{model}", "--out", "/sys/kernel/runs")),
)  # fmt: skip

RUNNING = (
    Drill("crash in the middle", "exit code 1 while answering request .*the card's memory is full", code=1,
          flags=after(3, "crash"), answers=6),
    Drill("hang in the middle", r"did not answer while answering request \S+ \(not done after 2 s; --request-timeout",
          code=1, flags=after(3, "hang"), more=("--request-timeout", "2"), answers=9),
    Drill("answer that trickles for ever", r"\(not done after 2 s; --request-timeout allows more\)",
          code=1, flags=after(3, "trickle"), more=("--request-timeout", "2"), answers=9),
    Drill("half an answer", r"while answering request \S+ \(RemoteProtocolError", code=1, flags=after(3, "half"),
          answers=9),
    Drill("answers with status 500", "scheduler gone", code=1, flags=after(3, "refuse"), answers=12),
    Drill("answers with status 400", "no images here", code=1, flags=after(3, "decline"), answers=12),
    Drill("answers that are not JSON", "502 Bad Gateway", code=1, flags=after(3, "garbage"), answers=12),
    Drill("answers of another form", "unexpected", flags=after(3, "other-json"), answers=6),
    Drill("server killed in the middle", "was ended by SIGKILL", code=1, flags=SLOW,
          disturb=kill("standin.py", "harness.launch.guard"), answers=2),
    Drill("record's disk full", r"record: cannot write \S+: File too large; what was measured before is in",
          limits={"file_bytes": 48_000}, answers=1),
    Drill("clock set back an hour", PASSED, 0, flags=SLOW, limits={"clock_jump": 3600.0}, answers=12),
)  # fmt: skip

ENDED = (
    Drill("Ctrl-C while starting", INTERRUPTED, 130, {"*": ["--hangs-at-start"]}, disturb=while_starting),
    Drill("Ctrl-C", INTERRUPTED, 130, SLOW, disturb=while_asking(signal.SIGINT), answers=2),
    Drill("SIGTERM", INTERRUPTED, 130, SLOW, disturb=while_asking(signal.SIGTERM), answers=2),
    Drill("SIGHUP", INTERRUPTED, 130, SLOW, disturb=while_asking(signal.SIGHUP), answers=2),
    Drill("Ctrl-C twice, servers deaf to SIGTERM", INTERRUPTED, 130, {"*": ["--delay", "0.4", "--ignores-sigterm"]},
          disturb=while_asking(signal.SIGINT, signal.SIGINT), answers=2),
    Drill("kill -9 of Assay", "asking off", -9, {"*": ["--delay", "0.4"], "off": [*ESCAPES, *LEAKS]},
          disturb=while_asking(signal.SIGKILL), answers=2),
    Drill("guards killed", "lost its guard", flags={"*": ["--delay", "0.4", *ESCAPES]},
          disturb=kill("harness.launch.guard"), answers=2),
    Drill("kill -9 of Assay and of the guards", "asking off", -9, {"*": ["--delay", "0.4"], "off": [*ESCAPES, *LEAKS]},
          disturb=kill_guards_and_assay, answers=2, sweep=True),
)  # fmt: skip

LEAVING = (
    Drill("grandchild that escapes", PASSED, 0, {"off": ESCAPES}, answers=12),
    Drill("shared memory that leaks", PASSED, 0, {"off": LEAKS}, answers=12),
    Drill("socket and file left in /tmp", PASSED, 0, {"*": ["--leaks-socket"]}, answers=12),
    Drill("crash that leaves everything", "exit code 1 while", code=1, flags={
        "off": [*ESCAPES, *LEAKS, "--leaks-socket", "--after", "3", "--then", "crash"]}),
    Drill("server deaf to SIGTERM", PASSED, 0, {"off": ["--ignores-sigterm"]}, answers=12),
)  # fmt: skip

DRILLS = (*START, *USAGE, *RUNNING, *ENDED, *LEAVING)
QUICK = {
    *("exit 1 at start", "hang at start", "port answered by another server", "read-only output folder"),
    *("crash in the middle", "hang in the middle", "record's disk full", "answers with status 500", "Ctrl-C"),
    *("kill -9 of Assay", "kill -9 of Assay and of the guards", "crash that leaves everything"),
}
"""Those that every run of the tests does; the others are marked slow."""
