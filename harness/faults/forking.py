"""Jobs in processes forked from this one, which has loaded everything already; as many at once as asked for.

What a job yields comes back when it has ended, whatever its end: an exception, a signal, more processor time than it
may take, or more time than that by the clock.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import FrameType
from typing import Generic, TypeVar

Job = TypeVar("Job")
Item = TypeVar("Item")
PROCESSOR_SECONDS = 240
CLOCK_SHARE = 5


class OutOfTime(Exception):
    """Raised in a job, wherever it is, once it has used its processor time."""


@dataclass
class Ended(Generic[Job, Item]):
    job: Job
    items: list[Item]
    seconds: float
    trouble: str | None
    """Why it did not come to its end, if it did not."""


@dataclass
class _Running(Generic[Job, Item]):
    job: Job
    process: BaseProcess
    began: float
    items: list[Item] = field(default_factory=list)


def run_forked(
    jobs: Iterable[Job],
    work: Callable[[Job], Iterator[Item]],
    workers: int,
    processor_seconds: float = PROCESSOR_SECONDS,
) -> Iterator[Ended[Job, Item]]:
    """Every job's items, in the order in which jobs end; each may take so much processor time, and :data:`CLOCK_SHARE`
    times that by the clock.
    """
    clock_seconds = CLOCK_SHARE * processor_seconds
    waiting = list(jobs)[::-1]
    running: dict[Connection, _Running[Job, Item]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                ours, one = _start(waiting.pop(), work, processor_seconds)
                running[ours] = one
            for ready in wait(list(running), timeout=1.0):
                assert isinstance(ready, Connection)
                if (ended := _receive(ready, running[ready])) is not None:
                    del running[ready]
                    yield ended
            for connection, one in list(running.items()):
                if time.monotonic() - one.began > clock_seconds:
                    _kill(one)
                    del running[connection]
                    yield Ended(one.job, one.items, clock_seconds, f"did not end within {clock_seconds:g} s")
    finally:
        for one in running.values():
            _kill(one)


def _start(
    job: Job, work: Callable[[Job], Iterator[Item]], processor_seconds: float
) -> tuple[Connection, _Running[Job, Item]]:
    context = get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_in_child, args=(job, work, theirs, processor_seconds), daemon=True)
    process.start()
    theirs.close()
    return ours, _Running(job, process, time.monotonic())


def _in_child(job: Job, work: Callable[[Job], Iterator[Item]], out: Connection, processor_seconds: float) -> None:
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    signal.signal(signal.SIGPROF, partial(_out_of_time, processor_seconds))
    signal.setitimer(signal.ITIMER_PROF, processor_seconds)
    trouble = None
    try:
        for item in work(job):
            out.send(item)
    except BaseException as error:
        trouble = f"{type(error).__name__}: {error}"[:2000]
    out.send(_End(trouble))
    out.close()
    os._exit(0)


@dataclass(frozen=True)
class _End:
    trouble: str | None


def _out_of_time(allowed: float, number: int, frame: FrameType | None) -> None:
    raise OutOfTime(f"more than {allowed:g} s of processor time")


def _receive(connection: Connection, one: _Running[Job, Item]) -> Ended[Job, Item] | None:
    trouble: str | None
    try:
        item = connection.recv()
    except EOFError:
        trouble = "the process died"
    else:
        if not isinstance(item, _End):
            one.items.append(item)
            return None
        trouble = item.trouble
    connection.close()
    _join(one)
    return Ended(one.job, one.items, time.monotonic() - one.began, trouble)


def _join(one: _Running[Job, Item]) -> None:
    one.process.join(10)


def _kill(one: _Running[Job, Item]) -> None:
    one.process.kill()
    _join(one)
