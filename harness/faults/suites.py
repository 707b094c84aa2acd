"""The suites, each as findings on one planted fault. Checks know nothing of faults; here they are only applied to an
engine that has one.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from harness.differential.bench import Bench, Oracle, oracle_of
from harness.differential.check import Check
from harness.differential.checks import CHECKS
from harness.differential.costs import COSTS
from harness.differential.models import Model, find_models
from harness.faults import properties
from harness.faults.acting import checkpoints_of
from harness.faults.findings import CLEAN, Finding, first_found, states
from harness.faults.matrix import OUTSIDE
from harness.faults.served import Served
from reference_engine import Engine

FIRST = 2
"""Checks that are asked on every checkpoint before any other: short ones."""
TURNS = 3
"""A quick look at an engine with nothing planted asks every third check; the next seed asks the one after each."""


class Suite(Protocol):
    name: str

    def load(self, seed: int) -> None:
        """Everything that is the same for all faults; in the process that jobs are forked from."""

    def findings(self, fault: str, *, quick: bool) -> Iterator[Finding]:
        """Of every check; with ``quick`` of those that state the fault's invariant, where it says that it acts; with
        nothing planted, of those whose turn it is.
        """


@dataclass
class InProcess:
    """Checks on an engine in this process. The first checks on every checkpoint, as a fault of one family shows there
    alone; then all others, on the checkpoint where something was red or else on one after the other until something is.
    """

    name: str
    checks: Sequence[Check]
    models: Sequence[Model]
    oracles: dict[str, Oracle] = field(default_factory=dict)
    seed: int = 0
    engines: dict[str, dict[str, Engine]] = field(default_factory=lambda: defaultdict(dict))
    """With nothing planted, by checkpoint and settings: they serve one seed after the other."""

    def load(self, seed: int) -> None:
        self.seed = seed
        self.oracles = {model.name: oracle_of(model, seed) for model in self.models}

    def findings(self, fault: str, *, quick: bool) -> Iterator[Finding]:
        began = time.process_time()
        models = checkpoints_of(fault, self.models) if quick else self.models
        asked = [check for check in self.checks if _is_asked(check.invariants, fault, quick)]
        if quick and fault == CLEAN:
            asked = asked[self.seed % TURNS :: TURNS]
        benches = [self._bench(model, fault) for model in models]
        reds: list[Bench] = []
        for checks in (asked[:FIRST], asked[FIRST:]):
            for bench in reds[:1] or benches:
                for check in checks:
                    message = first_found(check.find, bench, "engine")
                    yield Finding(
                        fault, self.name, check.name, bench.model.name, check.invariants, message is not None,
                        (message or "")[:600], round(time.process_time() - began, 3),
                    )  # fmt: skip
                    if message is not None:
                        reds.append(bench)
                if reds and fault != CLEAN:
                    break

    def _bench(self, model: Model, fault: str) -> Bench:
        if fault == CLEAN:
            return Bench(self.oracles[model.name], None, self.engines[model.name])
        return Bench(self.oracles[model.name], fault)


def _is_asked(invariants: Collection[int], fault: str, quick: bool) -> bool:
    return not quick or fault == CLEAN or states(invariants, fault)


@dataclass
class Properties:
    name: str = "properties"
    seed: int = 0

    def load(self, seed: int) -> None:
        self.seed = seed
        properties.load()

    def findings(self, fault: str, *, quick: bool) -> Iterator[Finding]:
        began = time.process_time()
        wanted = partial(_is_asked, fault=fault, quick=quick)
        for seen in properties.run(None if fault == CLEAN else fault, wanted, self.seed):
            yield Finding(
                fault, self.name, seen.test, "", seen.invariants, seen.message is not None, (seen.message or "")[:600],
                round(seen.at - began, 3),
            )  # fmt: skip


def make_suites(models: tuple[str, ...] = ()) -> Mapping[str, Suite]:
    """All of them. ``models`` limits the checkpoints of those that run an engine; ``KeyError`` for an unknown one."""
    chosen = find_models(models)
    return {
        "properties": Properties(),
        "differential": InProcess("differential", CHECKS, chosen),
        "benchmark": InProcess("benchmark", COSTS, chosen[:1]),
        OUTSIDE: Served(chosen),
    }
