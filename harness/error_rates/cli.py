"""``assay ab-check``: the error rates of A/B verdicts, from recorded rounds. ``--record`` records them anew.

Exit code 0 when the promises hold, 1 when one does not, 2 without recordings.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console

from harness.checks.performance import METRICS
from harness.error_rates.recording import read_pairs, record
from harness.error_rates.replay import (
    COMPARISONS,
    JUDGED,
    LOSS,
    PLANTED,
    Rates,
    Real,
    real_comparisons,
    replay,
)
from harness.error_rates.rules import RuleRow, compare_rules
from harness.errors import UsageError
from harness.load.comparison import Pairs
from harness.progress import PlainLines, Silent
from harness.stats import THOROUGH, Plan
from harness.surroundings import hardware
from harness.verdict import FAILED, PASSED

UNCHANGED, SLOWED = "a-against-a.jsonl", "a-against-slowed.jsonl"
MOST_FALSE, LEAST_FOUND = 1 / 200, 0.95
PAIRS_A_LAUNCH = 60


@dataclass(frozen=True)
class Promise:
    words: str
    kept: bool


@dataclass(frozen=True)
class ErrorRates:
    """Everything that is told."""

    rates: Sequence[Rates]
    any_red: float
    seen: float
    unchanged: Sequence[Real]
    slowed: Sequence[Real]
    rules: Sequence[RuleRow]

    def promises(self) -> list[Promise]:
        found = {real.launch for real in self.slowed if real.finding.outcome == "regressed"}
        planted, real = {real.launch for real in self.slowed}, {real.launch for real in self.unchanged}
        red = sum(real.finding.outcome == "regressed" for real in self.unchanged)
        any_red = (
            f"false regressions, any figure of a replayed comparison: {self.any_red:.1%}, at most {MOST_FALSE:.1%}"
        )
        seen = f"{PLANTED:.0%} slowdown found, replayed: {self.seen:.1%}, at least {LEAST_FOUND:.0%}"
        really = f"{PLANTED:.0%} slowdown planted in a real server, found: {len(found)} of {len(planted)}"
        return [
            Promise(any_red, self.any_red <= MOST_FALSE),
            Promise(seen, self.seen >= LEAST_FOUND),
            Promise(f"false regressions, any figure of {len(real)} real comparisons: {red}", red == 0),
            Promise(really, bool(planted) and len(found) >= LEAST_FOUND * len(planted)),
        ]


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="assay ab-check", description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--out", type=Path, default=Path("results/ab"), metavar="DIR", help="recordings and tables")
    parser.add_argument(
        "--comparisons", type=int, default=COMPARISONS, metavar="N", help="replayed ones (default: 200)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the replay and of the simulation (default: 0)")
    parser.add_argument("--record", action="store_true", help="record rounds on this machine first (about 40 minutes)")
    parser.add_argument("--launches", type=int, nargs=2, default=(5, 12), metavar=("A/A", "SLOWED"))
    parser.add_argument("--budget", type=float, default=400.0, metavar="S", help="most seconds of a slowed launch")
    parser.add_argument("--quiet", action="store_true", help="no progress")
    given = parser.parse_args(argv)
    if given.comparisons < 1:
        raise UsageError(f"--comparisons {given.comparisons}: at least 1 is needed")
    progress = Silent() if given.quiet else PlainLines(Console(stderr=True))
    if given.record:
        given.out.mkdir(parents=True, exist_ok=True)
        record(given.out / UNCHANGED, given.launches[0], progress, plan=Plan((PAIRS_A_LAUNCH,)))
        slowed = given.out / SLOWED
        record(slowed, given.launches[1], progress, plan=THOROUGH, slowed_by=PLANTED, budget=given.budget)
    progress.step("replaying, and comparing rules on made noises")
    found = judge(read(given.out / UNCHANGED), read(given.out / SLOWED), given.comparisons, given.seed)
    table = "\n".join(markdown(found, given.comparisons)) + "\n"
    (given.out / "error-rates.md").write_text(table, encoding="utf-8")
    whole = asdict(found) | {"hardware": hardware(), "promises": [asdict(one) for one in found.promises()]}
    (given.out / "error-rates.json").write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
    Console(soft_wrap=True).print(table, markup=False, highlight=False)
    return PASSED if all(promise.kept for promise in found.promises()) else FAILED


def read(file: Path) -> dict[int, Pairs]:
    if not file.is_file():
        raise UsageError(f"no recording at {file}; --record makes it")
    return read_pairs(file)


def judge(unchanged: Mapping[int, Pairs], slowed: Mapping[int, Pairs], comparisons: int, seed: int) -> ErrorRates:
    rates, red, seen = replay(unchanged, comparisons=comparisons, seed=seed)
    real = real_comparisons(unchanged, METRICS), real_comparisons(slowed, JUDGED)
    return ErrorRates(rates, red, seen, *real, compare_rules(seed=seed))


def markdown(found: ErrorRates, comparisons: int) -> Iterator[str]:
    plan = THOROUGH
    yield "# Error rates of A/B verdicts\n"
    yield (
        f"A share of {LOSS:.0%} may be lost; looks at {', '.join(map(str, plan.looks))} pairs, together wrong at most "
        f"{plan.alpha:.1%} of the time on each side. A pair is two rounds of 12 requests on the reference server.\n"
    )
    yield from (f"- {'kept' if one.kept else '**NOT KEPT**'}: {one.words}" for one in found.promises())
    yield f"\n## {comparisons} comparisons replayed from A against A\n"
    yield (
        "| figure | noise of a pair | red, unchanged | red, exactly at the limit | green, unchanged | pairs to it | "
        f"{PLANTED:.0%} slower found | pairs to it | seconds to it (95 %) |"
    )
    yield "|---|---|---|---|---|---|---|---|---|"
    yield from map(_rates_row, found.rates)
    yield "\nNoise: half the width that holds two thirds of the log ratios. Empty: a slowdown does not scale it."
    yield from _real(f"{PLANTED:.0%} slower, planted in a real server", found.slowed)
    yield from _real("A against A, as recorded", found.unchanged)
    yield from _rules(found.rules)


def _rates_row(rates: Rates) -> str:
    same, slow = rates.unchanged, rates.slowed
    cells = [rates.figure, f"{rates.noise:.1%}", f"{same['regressed']:.1%}", f"{rates.at_limit['regressed']:.1%}"]
    cells += [f"{same['not_regressed']:.1%}", f"{same['pairs_median']:.0f}"]
    if slow is None:
        return f"| {' | '.join([*cells, '', '', ''])} |"
    seconds = [rates.pair_seconds * slow[name] for name in ("pairs_median", "pairs_95")]
    cells += [f"{slow['regressed']:.1%}", f"{slow['pairs_median']:.0f}", f"{seconds[0]:.0f} ({seconds[1]:.0f})"]
    return f"| {' | '.join(cells)} |"


def _real(title: str, comparisons: Sequence[Real]) -> Iterator[str]:
    yield f"\n## {title}\n"
    yield "| launch | figure | ratio | outcome | pairs | seconds to verdict |"
    yield "|---|---|---|---|---|---|"
    for real in comparisons:
        one, ratio = real.finding, real.finding.ratio
        seconds = "" if real.seconds is None else f"{real.seconds:.0f}"
        interval = f"{ratio.value:.3f} [{ratio.low:.3f}, {ratio.high:.3f}]"
        outcome = one.outcome.replace("_", " ")
        yield f"| {real.launch + 1} | {real.figure} | {interval} | {outcome} | {one.pairs} | {seconds} |"


def _rules(rows: Sequence[RuleRow]) -> Iterator[str]:
    yield "\n## Rules compared, on noises made from a seed\n"
    yield "| rule | noise | red at the limit | a tenth slower found | unchanged settled | pairs to find it |"
    yield "|---|---|---|---|---|---|"
    for row in sorted(rows, key=lambda row: row.rule):
        shares = f"{row.false_red:.1%} | {row.found:.1%} | {row.settled:.1%}"
        yield f"| {row.rule} | {row.noise} | {shares} | {row.pairs:.0f} |"
