"""What one request met under load, and the figures of many. Plain data: times in seconds of the generator's clock.

``intended`` is when the request was meant to be sent; latencies count from there. An event that brings several tokens
is one gap: what a reader sees standing still is what counts, and ``tpot`` is the mean over tokens. Requests that
failed are counted in every share and never dropped; they have no latency.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from statistics import median

import numpy as np

PERCENTILES = (50, 90, 99)


@dataclass(frozen=True)
class Timing:
    """One streamed request."""

    request: str
    intended: float
    sent: float
    first: float | None = None
    """When the first token came."""
    ended: float = 0.0
    gaps: tuple[float, ...] = ()
    """Between events that brought tokens."""
    prompt_tokens: int | None = None
    """As the server's usage says."""
    completion_tokens: int | None = None
    """The same; where it says nothing, as many as were seen."""
    predicted_tokens: int | None = None
    """Of the prompt, image tokens included, by our own count."""
    image_tokens: int | None = None
    """Those of them that stand for images, by our own count."""
    error: str | None = None
    warm: bool = False
    """Sent to warm the target up: in no figure."""

    @property
    def ok(self) -> bool:
        return self.error is None

    @property
    def queued(self) -> float:
        """From the intended time until it went out: a full set of connections, or a late generator."""
        return self.sent - self.intended

    @property
    def ttft(self) -> float | None:
        return None if self.first is None else self.first - self.intended

    @property
    def seconds(self) -> float:
        return self.ended - self.intended

    @property
    def tpot(self) -> float | None:
        """Mean seconds a token after the first."""
        if self.first is None or not self.completion_tokens or self.completion_tokens < 2:
            return None
        return (self.ended - self.first) / (self.completion_tokens - 1)


@dataclass(frozen=True)
class Objective:
    """Seconds that a request may take to be a good one; None: any. ``itl`` is of its slowest gap."""

    ttft: float | None = None
    itl: float | None = None
    tpot: float | None = None
    e2e: float | None = None

    def met(self, timing: Timing) -> bool:
        seen = {"ttft": timing.ttft, "itl": max(timing.gaps, default=0.0), "tpot": timing.tpot, "e2e": timing.seconds}
        limits = {name: limit for name, limit in vars(self).items() if limit is not None}
        return timing.ok and all((found := seen[name]) is None or found <= limit for name, limit in limits.items())


@dataclass(frozen=True)
class Spread:
    """Of many values; in seconds where they are times."""

    mean: float
    percentiles: Mapping[int, float]
    worst: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread | None:
        if not values:
            return None
        found = np.percentile(values, PERCENTILES)
        return cls(float(np.mean(values)), dict(zip(PERCENTILES, map(float, found), strict=True)), max(values))


@dataclass(frozen=True)
class Load:
    """Everything that one load did. ``seconds`` is from the first counted intended time to the last counted end."""

    timings: tuple[Timing, ...]
    generator: Mapping[str, float] = field(default_factory=dict)
    """What the generator itself used and missed: see :mod:`harness.load.overhead`."""

    @cached_property
    def counted(self) -> tuple[Timing, ...]:
        return tuple(timing for timing in self.timings if not timing.warm)

    @cached_property
    def good(self) -> tuple[Timing, ...]:
        """Those that were answered."""
        return tuple(timing for timing in self.counted if timing.ok)

    @cached_property
    def seconds(self) -> float:
        if not self.counted:
            return 0.0
        return max(t.ended for t in self.counted) - min(t.intended for t in self.counted)

    @property
    def errors(self) -> tuple[Timing, ...]:
        return tuple(timing for timing in self.counted if not timing.ok)

    @property
    def output_tokens(self) -> int:
        return sum(timing.completion_tokens or 0 for timing in self.good)

    @property
    def prompt_tokens(self) -> int:
        """By our own count where there is one (sglang#38035, sglang#40356, vllm-omni#4459), else as the server says."""
        return sum(t.prompt_tokens or 0 if t.predicted_tokens is None else t.predicted_tokens for t in self.good)

    @property
    def image_tokens(self) -> int:
        return sum(timing.image_tokens or 0 for timing in self.good)

    @property
    def throughput(self) -> float:
        """Output tokens a second."""
        return self.output_tokens / self.seconds

    @property
    def median_ttft(self) -> float:
        return median(timing.ttft for timing in self.good if timing.ttft is not None)

    @property
    def median_itl(self) -> float | None:
        gaps = [gap for timing in self.good for gap in timing.gaps]
        return median(gaps) if gaps else None

    def spreads(self) -> dict[str, Spread | None]:
        good = self.good
        return {
            "TTFT": Spread.of([t.ttft for t in good if t.ttft is not None]),
            "ITL": Spread.of([gap for t in good for gap in t.gaps]),
            "TPOT": Spread.of([t.tpot for t in good if t.tpot is not None]),
            "end to end": Spread.of([t.seconds for t in good]),
            "queueing": Spread.of([t.queued for t in self.counted]),
        }

    def rates(self) -> dict[str, float]:
        """A second, over the whole load."""
        if not self.seconds:
            return {}
        totals = {
            "requests": len(self.good),
            "output tokens": self.output_tokens,
            "prompt tokens": self.prompt_tokens,
            "image tokens": self.image_tokens,
            "total tokens": self.prompt_tokens + self.output_tokens,
        }
        return {name: total / self.seconds for name, total in totals.items()}

    def goodput(self, objective: Objective) -> tuple[float, float]:
        """Good requests a second, and their share of all that were sent."""
        met = sum(objective.met(timing) for timing in self.counted)
        return (met / self.seconds if self.seconds else 0.0), (met / len(self.counted) if self.counted else 0.0)
