"""When requests are meant to be sent: seconds after the start, from a seed, before anything is sent.

That the times stand beforehand is what keeps a slow server from slowing the load down (coordinated omission): latencies
are counted from these times, whatever kept a request back.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from harness.errors import UsageError
from harness.json_lines import read_lines


@dataclass(frozen=True)
class Rate:
    """``rate`` requests a second for ``duration`` seconds. ``shape`` is the gamma shape of bursty gaps (1: Poisson,
    less: burstier), ``end_rate`` where a ramp ends.
    """

    rate: float
    duration: float
    shape: float = 0.25
    end_rate: float | None = None

    def __post_init__(self) -> None:
        for name in ("rate", "duration", "shape"):
            if not (0 < getattr(self, name) < math.inf):
                raise UsageError(f"--{name} {getattr(self, name):g}: a number above 0 is needed")
        if self.end_rate is not None and not (0 <= self.end_rate < math.inf):
            raise UsageError(f"--end-rate {self.end_rate:g}: a number from 0 up is needed")


def constant(asked: Rate, rng: np.random.Generator) -> list[float]:
    return [number / asked.rate for number in range(math.ceil(asked.rate * asked.duration))]


def poisson(asked: Rate, rng: np.random.Generator) -> list[float]:
    return _from_gaps(asked, lambda: rng.exponential(1 / asked.rate))


def bursty(asked: Rate, rng: np.random.Generator) -> list[float]:
    """Gaps of the same mean as Poisson's and ``1 / shape`` times their variance."""
    return _from_gaps(asked, lambda: rng.gamma(asked.shape, 1 / (asked.rate * asked.shape)))


def ramp(asked: Rate, rng: np.random.Generator) -> list[float]:
    """Poisson whose rate goes evenly from ``rate`` to ``end_rate``: gaps of rate 1, with time stretched to match."""
    start, slope = asked.rate, ((asked.end_rate or 0.0) - asked.rate) / asked.duration

    def expected(second: float) -> float:
        return start * second + slope * second**2 / 2

    times: list[float] = []
    total, whole = rng.exponential(1.0), expected(asked.duration)
    while total < whole:
        root = math.sqrt(max(0.0, start**2 + 2 * slope * total))
        times.append(2 * total / (start + root))  # the root that stays finite when the slope is 0
        total += rng.exponential(1.0)
    return times


def _from_gaps(asked: Rate, gap: Callable[[], float]) -> list[float]:
    times = [gap()]
    while times[-1] < asked.duration:
        times.append(times[-1] + gap())
    return times[:-1]


ARRIVALS: dict[str, Callable[[Rate, np.random.Generator], list[float]]] = {
    "constant": constant,
    "poisson": poisson,
    "bursty": bursty,
    "ramp": ramp,
}


@dataclass(frozen=True)
class Recorded:
    """One request of a recorded trace: when, how long its prompt and answer were, its images' (width, height)."""

    at: float
    prompt_tokens: int
    output_tokens: int
    images: tuple[tuple[int, int], ...] = ()


def read_trace(path: Path) -> list[Recorded]:
    """JSON lines such as ``{"at": 0.5, "prompt_tokens": 80, "output_tokens": 16, "images": [[365, 211]]}``, by time."""
    if not path.is_file():
        raise UsageError(f"no trace at {path}")
    found = [_recorded(f"{path}:{n}", line) for n, line in enumerate(read_lines(path), 1) if line.strip()]
    if not found:
        raise UsageError(f"{path} holds no request")
    if any(later.at < earlier.at for earlier, later in pairwise(found)):
        raise UsageError(f"{path}: its times do not ascend")
    return found


def _recorded(where: str, line: bytes) -> Recorded:
    try:
        told: dict[str, Any] = json.loads(line)
        images = tuple((int(width), int(height)) for width, height in told.get("images", ()))
        found = Recorded(float(told["at"]), int(told["prompt_tokens"]), int(told["output_tokens"]), images)
    except (ValueError, TypeError, AttributeError) as error:
        raise UsageError(f"{where}: {error}") from error
    except KeyError as error:
        raise UsageError(f"{where}: {error.args[0]} is missing") from error
    if found.at < 0 or found.prompt_tokens < 1 or found.output_tokens < 1 or any(min(s) < 1 for s in images):
        raise UsageError(f"{where}: a time from 0 up, and lengths and sizes from 1 up are needed")
    return found
