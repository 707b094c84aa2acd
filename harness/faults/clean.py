"""Runs with nothing planted: whatever is red there is a false alarm.

A process takes several seeds of one suite, one after the other, with the engines that it has loaded already: they must
be as good after many seeds as they were at first. Each seed draws its own requests, and has its own oracle.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from harness.differential.models import MODELS
from harness.faults.findings import CLEAN, Done, Finding, Journal, stopped
from harness.faults.forking import PROCESSOR_SECONDS, Ended, run_forked
from harness.faults.suites import make_suites

TOGETHER = 10
"""Quick seeds of one process; a full one, which asks every checkpoint, may take as much processor time as these."""


@dataclass(frozen=True)
class Share:
    """What one process does."""

    suite: str
    models: tuple[str, ...]
    """Checkpoints; empty stands for all."""
    seeds: tuple[int, ...]
    quick: bool


def run_clean(
    seeds: Iterable[int], suites: Sequence[str], models: tuple[str, ...], workers: int, journal: Journal,
    say: Callable[[str], object], *, quick: bool,
) -> None:  # fmt: skip
    """With ``quick``, of each seed one checkpoint and every third check, other ones with the next seed. What the
    journal says is done is not done again.
    """
    done = {(one.suite, one.seed) for one in journal.read()[1] if one.fault == CLEAN}
    left = [(suite, seed) for seed in seeds for suite in suites if (suite, seed) not in done]
    say(f"{len(left)} clean runs to do, {len(done)} done before")
    number = 0
    for ended in run_forked(_shares(left, models, quick=quick), _findings, workers, TOGETHER * PROCESSOR_SECONDS):
        items = ended.items + _trouble(ended)
        journal.add(items)
        runs = [one for one in items if isinstance(one, Done)]
        red = [one for one in items if isinstance(one, Finding) and one.red]
        number += len(runs)
        alarms = "".join(f"\n     FALSE ALARM {one.where} {one.check}: {one.message[:200]}" for one in red)
        told = f"{ended.job.suite} of {', '.join(ended.job.models) or 'all checkpoints'}, seeds {ended.job.seeds}"
        say(f"{number:>4}/{len(left)} {told}: {len(red)} red, {ended.seconds:.1f} s{alarms}")


def _shares(left: list[tuple[str, int]], models: tuple[str, ...], *, quick: bool) -> Iterator[Share]:
    """Every seed of a full run by itself; quick ones together where they have suite and checkpoint in common."""
    if not quick:
        yield from (Share(suite, models, (seed,), quick) for suite, seed in left)
        return
    names = models or tuple(model.name for model in MODELS)
    alike: dict[tuple[str, str], list[int]] = defaultdict(list)
    for suite, seed in left:
        alike[suite, names[seed % len(names)]].append(seed)
    for start in range(0, max(map(len, alike.values()), default=0), TOGETHER):
        for (suite, name), seeds in alike.items():
            if seeds[start:]:
                yield Share(suite, (name,), tuple(seeds[start : start + TOGETHER]), quick)


def _findings(share: Share) -> Iterator[Finding | Done]:
    suite = make_suites(share.models)[share.suite]
    for seed in share.seeds:
        suite.load(seed)
        took = 0.0
        for finding in suite.findings(CLEAN, quick=share.quick):
            took = finding.seconds
            yield finding
        yield Done(CLEAN, share.suite, round(took, 2), seed)


def _trouble(ended: Ended[Share, Finding | Done]) -> list[Finding | Done]:
    """A process that did not come to its end: its seed is red, and those after it are left for another run."""
    if ended.trouble is None:
        return []
    share = ended.job
    seed = share.seeds[sum(isinstance(one, Done) for one in ended.items)]
    return [
        stopped(CLEAN, share.suite, ", ".join(share.models), ended.trouble, ended.seconds),
        Done(CLEAN, share.suite, round(ended.seconds, 2), seed),
    ]
