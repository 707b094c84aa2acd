"""A contestant's process ends with whoever asked for it, whatever it is doing then."""

from __future__ import annotations

import multiprocessing
import os

import pytest

from harness.bench import worker
from harness.bench.contestants.base import Contestant, Setup


class Left(Contestant):
    """One whose caller goes away while it works."""

    closed = False

    def prepare(self, prompts: object) -> None: ...

    def serve(self, door: object) -> None: ...

    def close(self) -> None:
        Left.closed = True


@pytest.mark.parametrize("asked", [0, 1], ids=["it waits", "it answers"])
def test_it_is_closed_when_its_caller_is_gone(asked: int, monkeypatch: pytest.MonkeyPatch) -> None:
    Left.closed = False
    monkeypatch.setattr(worker, "build", lambda kind, setup: Left(setup))
    ours, theirs = multiprocessing.Pipe()
    ours.send(("load", ("any", Setup(model="nowhere", device="cpu", dtype="float32", options={}))))
    for _ in range(asked):
        ours.send(("measure", ("none", "x" * 100)))
    descriptor = os.dup(theirs.fileno())
    theirs.close()
    ours.close()
    worker.main(descriptor)
    assert Left.closed
