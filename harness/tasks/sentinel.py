"""The questions that a sentinel was trained to answer, on digits that it never saw."""

from __future__ import annotations

from functools import partial

from harness.tasks.base import Sample
from harness.tasks.scoring import exact
from harness.workloads.chat import QWEN, Markup
from harness.workloads.drift import sentinel_questions

COUNT = 100


class SentinelTask:
    name = "sentinel"

    def __init__(self, markup: Markup = QWEN) -> None:
        self._markup = markup

    def samples(self, count: int | None, seed: int) -> list[Sample]:
        return [
            Sample(f"sentinel-{i:04d}", asked.images, asked.question, asked.answer, partial(exact, right=asked.answer))
            for i, asked in enumerate(sentinel_questions(count or COUNT, seed, self._markup))
        ]
