"""Runs ``assay`` commands, each in a process of its own forked from this one, which has loaded everything that takes
long. A command is a line of JSON on standard input; its process id and then its exit status are lines of standard
output.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import tempfile
import time
from typing import Any

import harness.report.page
import harness.session  # noqa: F401
import reference_engine.sentinels.architectures  # noqa: F401 torch, above all
from harness.cli import main


def become(order: dict[str, Any]) -> None:
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run behind a script's `&`
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # and this one under nohup
    os.environ.clear()
    os.environ.update(order["environment"])
    os.chdir(order["folder"])
    tempfile.tempdir = None
    for number, path in ((0, os.devnull), (1, order["stdout"]), (2, order["stderr"])):
        os.dup2(os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644), number)
    if limit := order.get("file_bytes"):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    if jump := order.get("clock_jump"):
        began, real = time.monotonic(), time.time
        time.time = lambda: real() - (jump if time.monotonic() > began + 1.0 else 0.0)


def serve() -> None:
    for line in sys.stdin:
        order = json.loads(line)
        if not (pid := os.fork()):
            become(order)
            sys.argv = ["assay", *order["arguments"]]
            sys.exit(main(order["arguments"]))
        sys.stdout.write(f"{pid}\n")
        sys.stdout.flush()
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        sys.stdout.write(f"{status}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    serve()
