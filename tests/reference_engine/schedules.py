"""The state machine: any order of submit, step, abort, preempt and flush, over several settings.

After every step all books agree (invariant 13), something has moved (14), and every image was encoded once. Every
answer equals the one alone (2, 11, 12). What a prompt shares with the one before it comes from the cache, and only that
(5). At the end nothing is held.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from PIL import Image

IMAGE = "<|vision_start|><|image_pad|><|vision_end|>"
SETTINGS: tuple[dict[str, Any], ...] = (
    {"chunked_prefill": 0, "block_size": 8, "num_blocks": 26},
    {"chunked_prefill": 3, "block_size": 4, "num_blocks": 52, "encoder_cache": False},
    {"chunked_prefill": 16, "block_size": 8, "num_blocks": 26, "encoder_rows": 24, "prefix_cache": False},
    {"chunked_prefill": 2, "block_size": 2, "num_blocks": 100, "encoder_rows": 24, "slice_rows": 2},
)
TOLERANCE = 2e-4
SAME, LONGER = ((0, 0), (1, 1), (2, 2), (6, 6)), ((1, 6),)
"""Pairs of cases: the second one begins with the whole of the first."""
OTHER = ((1, 2), (1, 3), (3, 2), (4, 5), (5, 4))
"""Pairs of cases that begin with the same text, and go on with another image."""


def make_cases(make_case: Any, picture: Any) -> list[Any]:
    """Prompts that caches must tell apart: equal text with other images, equal images, equal bytes in other shapes,
    images that begin alike, prompts that go on.
    """
    text, a, b = "read the row ", picture((84, 84), 1), picture((84, 84), 2)
    begins_as_a = a.copy()
    begins_as_a.paste(b.crop((0, 60, 84, 84)), (0, 60))
    wide = picture((112, 56), 3)
    high = in_other_rows(wide)
    parts = [
        (text * 4, []), (f"{text}{IMAGE}row", [a]), (f"{text}{IMAGE}row", [b]), (f"{text}{IMAGE}row", [begins_as_a]),
        (f"{text}{IMAGE}", [wide]), (f"{text}{IMAGE}", [high]), (f"{text}{IMAGE}row{IMAGE}last", [a, b]),
        (f"{IMAGE}{IMAGE}", [b, b]), (f"{IMAGE}read{IMAGE}", [wide, a]), ("hello", []),
    ]  # fmt: skip
    return [make_case(words, images, 4 + 4 * (i % 3), True) for i, (words, images) in enumerate(parts)]


def in_other_rows(image: Image.Image) -> Image.Image:
    """The same cells in the same order, in rows of two in place of four: equal bytes, another shape."""
    width, cell = image.width, 28
    cells = [(x, y) for y in range(0, image.height, cell) for x in range(0, width, cell)]
    made = Image.new("RGB", (2 * cell, len(cells) // 2 * cell))
    for i, (x, y) in enumerate(cells):
        made.paste(image.crop((x, y, x + cell, y + cell)), (i % 2 * cell, i // 2 * cell))
    return made


def make_schedule(
    engines: Sequence[Any], cases: Sequence[Any], alone: Sequence[Sequence[Any]]
) -> type[RuleBasedStateMachine]:
    """``alone[s]`` holds what each case is answered by itself in setting ``s``."""

    class Schedule(RuleBasedStateMachine):
        @initialize(setting=st.integers(0, len(engines) - 1))
        def start(self, setting: int) -> None:
            self.engine, self.alone = engines[setting], alone[setting]
            for left in [*self.engine.scheduler.running, *self.engine.scheduler.waiting]:  # by an example that failed
                self.engine.abort(left.id)
            while self.engine.has_work():
                self.engine.step()
            self.engine.flush_cache()
            self.before = self.engine.counters()
            self.cases: dict[str, int] = {}
            self.ids: dict[str, list[int]] = {}
            self.answers: dict[str, Any] = {}
            self.aborted: set[str] = set()

        @rule(some=st.lists(st.integers(0, len(cases) - 1), min_size=1, max_size=6))
        def submit(self, some: list[int]) -> None:
            for case in some:
                self.submit_one(case)

        def submit_one(self, case: int, **options: Any) -> str:
            name = str(len(self.cases))
            self.cases[name] = case
            self.engine.submit(cases[case].request(name, **options))
            return name

        @rule(steps=st.integers(1, 3))
        def step(self, steps: int) -> None:
            for _ in range(steps):
                had_work = self.engine.has_work()
                before = self.progress()
                outputs = self.engine.step()
                assert not had_work or outputs or before != self.progress(), "a step did nothing"
                for output in outputs:
                    self.take(output)

        def progress(self) -> list[tuple[str, int, int]]:
            return [(live.id, live.computed, live.length) for live in self.engine.scheduler.running]

        def take(self, output: Any) -> None:
            name = output.request_id
            assert name not in self.answers, "output after the answer"
            self.ids.setdefault(name, []).extend(output.new_ids)
            if output.answer is not None:
                self.answers[name] = output.answer
                self.judge(output.answer, self.cases[name], aborted=name in self.aborted)
                assert output.answer.output_ids == self.ids[name]

        def judge(self, answer: Any, case: int, *, aborted: bool = False) -> None:
            """Tokens as alone; log-probabilities too, but for the rounding of sums in another order."""
            assert answer.error is None, answer.error
            right, taken = self.alone[case], len(answer.output_ids) if aborted else None
            assert answer.output_ids == right.output_ids[:taken]
            differences = (abs(a - b) for a, b in zip(answer.logprobs, right.logprobs[:taken], strict=True))
            assert max(differences, default=0.0) < TOLERANCE

        @rule(pick=st.integers(0, 1 << 16))
        def abort(self, pick: int) -> None:
            live = [name for name in self.cases if name not in self.answers and name not in self.aborted]
            if live:
                self.abort_one(live[pick % len(live)])

        def abort_one(self, name: str) -> None:
            self.aborted.add(name)
            self.engine.abort(name)

        @rule(order=st.permutations(range(1, 9)))
        def crowd(self, order: list[int]) -> None:
            """More images than the encoder's budget holds come at once to an idle engine; the second one's request
            leaves its room to those behind it while the first is still being laid (vllm#46747).
            """
            self.finish()
            names = [self.submit_one(case) for case in order[:4]]
            self.step(1)
            if names[1] not in self.answers:
                self.abort_one(names[1])
            self.step(1)

        def finish(self) -> None:
            while self.engine.has_work():
                self.step(1)

        @rule(pick=st.integers(0, 1 << 16))
        def preempt(self, pick: int) -> None:
            running = self.engine.scheduler.running
            if running:
                assert self.engine.preempt(running[pick % len(running)].id)

        @rule()
        def flush(self) -> None:
            self.engine.flush_cache()
            counters = self.engine.counters()
            assert counters["blocks_cached"] == counters["encoder_rows_cached"] == 0

        @precondition(lambda self: not self.engine.has_work())
        @rule(pair=st.sampled_from(SAME + LONGER + OTHER))
        def ask_again(self, pair: tuple[int, int]) -> None:
            self.engine.flush_cache()
            first, second = (self.ask(case) for case in pair)
            cached, config = second.evidence.cached_tokens, self.engine.config
            known = min(first.prompt_tokens, second.prompt_tokens - 1)
            if pair in OTHER:
                assert cached <= second.evidence.items[0].spans[0][0], "another image's blocks were taken"
            elif config.prefix_cache:
                assert cached >= known // config.block_size * config.block_size
            assert cached < second.prompt_tokens
            assert all(item.encoder_rows == item.placeholders for item in second.evidence.items)

        def ask(self, case: int) -> Any:
            name = self.submit_one(case, want_evidence=True)
            while name not in self.answers:
                self.step(1)
            return self.answers[name]

        @invariant()
        def the_books_agree(self) -> None:
            if hasattr(self, "engine"):
                self.engine.check_integrity()
                grown = {name: value - self.before[name] for name, value in self.engine.counters().items()}
                assert grown["encoder_items_total"] == grown["encoder_cache_misses_total"]

        def teardown(self) -> None:
            if not hasattr(self, "engine"):
                return
            self.finish()
            assert set(self.answers) == set(self.cases), "a request has no answer"
            self.engine.scheduler.check_idle()
            counters = self.engine.counters()
            assert counters["blocks_free"] == counters["blocks_total"]
            assert counters["encoder_rows_pinned"] == counters["running"] == counters["waiting"] == 0

    return Schedule
