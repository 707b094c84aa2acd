"""Invariant 13 from outside: after load with requests given up in the middle, a server holds no more than before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from statistics import median

from harness.verdict import Verdict

INVARIANT, SOURCE = 13, "vllm#12545"
CHECK, HELD = "memory stays level", "nothing is held when idle"
GROWTH = 0.05
"""Share by which memory may be larger in the last third of the rounds than in the middle one."""
LEAST_ROUNDS = 9


def memory_level(rounds: Sequence[int], growth: float = GROWTH) -> Verdict:
    """Resident bytes at the end of each round. The first third is warm-up; medians of the other two are compared."""
    end = partial(Verdict, CHECK, invariant=INVARIANT, source=SOURCE, threshold=1 + growth)
    if len(rounds) < LEAST_ROUNDS:
        return end("not_exercised", f"{len(rounds)} rounds; {LEAST_ROUNDS} are needed to tell a trend")
    third = len(rounds) // 3
    middle, last = median(rounds[third : 2 * third]), median(rounds[2 * third :])
    ratio = last / middle
    evidence = {"rounds": list(rounds), "middle": middle, "last": last}
    words = f"{ratio:.3f} times as much in the last third ({_mib(last)}) as in the middle one ({_mib(middle)})"
    return end("pass" if ratio <= 1 + growth else "fail", words, figure=ratio, evidence=evidence)


def nothing_held(gauges: Mapping[str, float], wanted: Sequence[str], lack: str = "") -> Verdict:
    """Gauges that are 0 when nothing runs, read when nothing runs. ``lack`` says why there are none."""
    end = partial(Verdict, HELD, invariant=INVARIANT, source=SOURCE, evidence={"gauges": dict(gauges)})
    missing = [name for name in wanted if name not in gauges]
    if lack or missing or not wanted:
        return end("not_exercised", lack or f"its metrics do not have {', '.join(missing) or 'such a gauge'}")
    if kept := {name: value for name, value in gauges.items() if value}:
        return end("fail", ", ".join(f"{name} is {value:g} with nothing running" for name, value in kept.items()))
    return end("pass", f"{', '.join(wanted)}: 0 with nothing running")


def _mib(size: float) -> str:
    return f"{size / 2**20:.0f} MiB"
