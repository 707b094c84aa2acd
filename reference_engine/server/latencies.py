"""What clients wait for, as Prometheus histograms: named as vLLM and SGLang name theirs, with ``assay_`` in front.

Times run from a call's head to what is handed to its client, on the event loop's clock: body, pictures and queue are in
them. Each choice of a request counts by itself. One that was aborted or failed tells of its tokens while they came, and
of nothing else: how long it would have taken, nobody knows.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Histogram

from reference_engine.request import Answer, StepOutput

SECONDS = (.001, .0025, .005, .01, .025, .05, .075, .1, .25, .5, .75, 1, 2.5, 5, 10, 20, 40, 80, 160)  # fmt: skip
TOKENS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000)
ENDED_BY_THEMSELVES = ("stop", "length")
Key = tuple[str, int]
"""A request's id and the index of one of its choices."""


@dataclass
class _Times:
    began: float
    latest: float | None = None
    """When its latest token came."""


class Latencies:
    """To be called on the event loop. Holds nothing of a request that has ended."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self.registry = CollectorRegistry(auto_describe=False)
        self._running: dict[Key, _Times] = {}
        self._first = self._made("time_to_first_token_seconds", "From a call to its first token.", SECONDS)
        self._next = self._made("inter_token_latency_seconds", "From one token to the next.", SECONDS)
        self._whole = self._made("e2e_request_latency_seconds", "From a call to the end of its answer.", SECONDS)
        self._queue = self._made("request_queue_time_seconds", "From the engine's queue to the first step.", SECONDS)
        self._prompt = self._made("request_prompt_tokens", "Tokens of a prompt, placeholders expanded.", TOKENS)
        self._answer = self._made("request_generation_tokens", "Tokens of an answer.", TOKENS)

    def began(self, keys: Iterable[Key], at: float | None = None) -> None:
        """``at`` is what the clock said when their call came; now, if left out."""
        at = self._clock() if at is None else at
        self._running |= {key: _Times(at) for key in keys}

    def delivered(self, output: StepOutput) -> None:
        times = self._running.get((output.request_id, output.index))
        if times is None:
            return
        now = self._clock()
        if output.new_ids:
            before, histogram = (times.began, self._first) if times.latest is None else (times.latest, self._next)
            histogram.observe(now - before)
            times.latest = now
        if output.answer is not None:
            del self._running[output.request_id, output.index]
            self._ended(output.answer, now - times.began)

    def forget_all(self) -> None:
        self._running.clear()

    def _ended(self, answer: Answer, seconds: float) -> None:
        if answer.finish_reason in ENDED_BY_THEMSELVES:
            self._whole.observe(seconds)
            self._prompt.observe(answer.prompt_tokens)
            self._answer.observe(answer.completion_tokens)
            if answer.queue_seconds is not None:
                self._queue.observe(answer.queue_seconds)

    def _made(self, name: str, meaning: str, buckets: Sequence[float]) -> Histogram:
        return Histogram(f"assay_{name}", meaning, buckets=buckets, registry=self.registry)
