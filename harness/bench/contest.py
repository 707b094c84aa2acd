"""One entry of the benchmark: everyone loaded, answers compared with the oracle's, then rounds in turn, A B B A.

All of an entry's contestants are alive at the same time and play one at a time, so that what drifts with the machine
meets them alike. A contestant that cannot be loaded is reported with the reason; one whose answers differ from the
oracle's, in the first play or in any round, is reported with the difference and has no ratio.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Literal

from harness.bench.answers import compare
from harness.bench.contestants.base import Played, Setup
from harness.bench.entries import Entry, Seat
from harness.bench.models import checkpoint
from harness.bench.process import ContestantFailed, WorkerProcess
from harness.bench.workloads import arrivals
from harness.observation import Prompt
from harness.progress import Progress
from harness.vocabulary import Vocabulary

Status = Literal["timed", "other answers", "unavailable"]
QUICK_SHARE, QUICK_ROUNDS = 0.25, 2
NO_GPU = "no GPU"


@dataclass(frozen=True)
class Wishes:
    """How the benchmark is run here."""

    cache: Path
    """Where checkpoints are made and kept."""
    logs: Path
    pythons: Mapping[str, str] = field(default_factory=dict)
    """Kind of contestant -> the interpreter of its environment; this one where none is named."""
    threads: int = 1
    quick: bool = False
    rounds: int | None = None
    """In place of every entry's own number."""


@dataclass
class SeatResult:
    seat: Seat
    status: Status = "timed"
    note: str = ""
    about: dict[str, str] = field(default_factory=dict)
    rounds: dict[int, dict[str, float]] = field(default_factory=dict)
    """By number of the round: ``seconds``, ``cpu_seconds``, ``latency`` (mean), ``load``, and figures of its own."""

    def drop_out(self, status: Status, note: str) -> None:
        self.status, self.note, self.rounds = status, note, {}


@dataclass
class EntryResult:
    entry: Entry
    seats: list[SeatResult]
    requests: int = 0
    new_tokens: int = 0
    rate: float = 0.0
    """Requests a second; 0: all at once."""
    seconds: float = 0.0
    note: str = ""


class Oracle:
    """The right answers, from transformers' ``generate``, one request at a time; kept, since entries share them."""

    def __init__(self, wishes: Wishes) -> None:
        self._wishes = wishes
        self._known: dict[tuple[str, tuple[Prompt, ...]], dict[str, tuple[int, ...]]] = {}

    def answers(self, entry: Entry, model: Path, prompts: Sequence[Prompt]) -> dict[str, tuple[int, ...]]:
        key = (entry.model, tuple(prompts))
        if key not in self._known:
            with _worker(Seat("oracle", "generate"), entry, self._wishes) as worker:
                worker.load("generate", Setup(str(model), entry.device, entry.dtype, self._wishes.threads))
                self._known[key] = answers_of(worker.play(prompts, [0.0] * len(prompts)))
        return self._known[key]


def answers_of(played: Played) -> dict[str, tuple[int, ...]]:
    return {answer.name: answer.ids or () for answer in played.answers}


class Contest:
    """One entry, held once."""

    def __init__(self, entry: Entry, wishes: Wishes, oracle: Oracle, progress: Progress) -> None:
        self.entry, self.wishes, self.oracle, self.progress = entry, wishes, oracle, progress
        self.result = EntryResult(entry, [SeatResult(seat) for seat in entry.seats])
        self.workers: dict[str, WorkerProcess] = {}

    def hold(self) -> EntryResult:
        began = time.monotonic()
        self.progress.job(self.entry.name, self.entry.title)
        if self.entry.device == "cuda" and not has_gpu():
            for one in self.result.seats:
                one.drop_out("unavailable", NO_GPU)
            self.result.note = NO_GPU
            return self.result
        model = checkpoint(self.entry.model, self.wishes.cache)
        vocabulary = Vocabulary(model)
        self.decode = vocabulary.decode_plain
        self.prompts = self.entry.workload.prompts(vocabulary, QUICK_SHARE if self.wishes.quick else 1.0)
        self.result.requests = len(self.prompts)
        self.result.new_tokens = sum(prompt.max_new_tokens for prompt in self.prompts)
        with ExitStack() as stack:
            self._load(stack, model)
            self._verify(model)
            if self.result.seats[0].status == "timed":
                self._play_rounds()
            else:
                self.result.note = "the first contestant dropped out: there is nothing to compare with"
        self.result.seconds = time.monotonic() - began
        return self.result

    def _load(self, stack: ExitStack, model: Path) -> None:
        """Everyone side by side: most of it is reading files."""
        self.progress.step("loading", len(self.result.seats))
        for one in self.result.seats:
            self.workers[one.seat.name] = stack.enter_context(_worker(one.seat, self.entry, self.wishes))
        with ThreadPoolExecutor() as pool:
            for _ in pool.map(lambda one: self._load_one(one, model), self.result.seats):
                self.progress.advance()

    def _load_one(self, one: SeatResult, model: Path) -> None:
        entry, wishes = self.entry, self.wishes
        setup = Setup(str(model), entry.device, entry.dtype, wishes.threads, one.seat.options)
        try:
            one.about = self.workers[one.seat.name].load(one.seat.kind, setup)
        except ContestantFailed as error:
            one.drop_out("unavailable", str(error))

    def _verify(self, model: Path) -> None:
        """Everyone plays once, all requests at once: this warms them up, and their answers decide who is timed."""
        self.progress.step("answers of the oracle")
        if self.entry.oracle == "generate":
            self.right = self.oracle.answers(self.entry, model, self.prompts)
        else:
            self.right = answers_of(self.workers[self.entry.seats[-1].name].play(self.prompts, self._at_once))
        self.progress.step("answers of everyone", len(self.result.seats))
        for one in self.result.seats:
            if one.status == "timed":
                self._play(one, self._at_once)
            self.progress.advance()

    @property
    def _at_once(self) -> list[float]:
        return [0.0] * len(self.prompts)

    def _play(self, one: SeatResult, moments: Sequence[float]) -> Played | None:
        """One play, its answers compared; None when the contestant dropped out of the contest by it."""
        try:
            played = self.workers[one.seat.name].play(self.prompts, moments)
        except ContestantFailed as error:
            one.drop_out("unavailable", str(error))
            return None
        agreement = compare(self.right, played.answers, self.decode)
        if not agreement.whole:
            one.drop_out("other answers", agreement.words)
            return None
        one.note = agreement.words
        return played

    def _play_rounds(self) -> None:
        moments = arrivals(len(self.prompts), self._rate())
        rounds = self.wishes.rounds or (QUICK_ROUNDS if self.wishes.quick else self.entry.rounds)
        self.progress.step("rounds in turn", rounds)
        for number in range(rounds):
            turn = self.result.seats if number % 2 == 0 else list(reversed(self.result.seats))
            for one in turn:
                every = min(one.seat.share, max(1, rounds // 2))
                if one.status == "timed" and number % every == 0:
                    self._play_round(one, number, moments)
            self.progress.advance()

    def _play_round(self, one: SeatResult, number: int, moments: Sequence[float]) -> None:
        load = os.getloadavg()[0]
        played = self._play(one, moments)
        if played is not None:
            figures = {"seconds": played.seconds, "load": load, "latency": fmean(a.seconds for a in played.answers)}
            spent = {} if played.cpu_seconds is None else {"cpu_seconds": played.cpu_seconds}
            one.rounds[number] = figures | spent | dict(played.figures)

    def _rate(self) -> float:
        """``load`` times what the first contestant ends a second when all requests are there from the start."""
        if self.entry.workload.load == 0:
            return 0.0
        alone = self.workers[self.entry.seats[0].name].play(self.prompts, self._at_once)
        self.result.rate = round(self.entry.workload.load * len(self.prompts) / alone.seconds, 3)
        return self.result.rate


def has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def _worker(seat: Seat, entry: Entry, wishes: Wishes) -> WorkerProcess:
    python = wishes.pythons.get(seat.kind, sys.executable)
    log = wishes.logs / f"{entry.name}.{seat.name.replace(' ', '-').replace(',', '')}.log"
    return WorkerProcess(seat.name, python, wishes.threads, log)
