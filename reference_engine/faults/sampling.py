"""Faults of sampling and log-probabilities."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from reference_engine.errors import RequestError
from reference_engine.faults.catalogue import Fault
from reference_engine.logprobs import PromptLogprobs
from reference_engine.philox import Draws
from reference_engine.request import TokenLogprob
from reference_engine.sampler import Sampled, SampleRow, sample
from reference_engine.sampling_params import grammar_of


def draw_by_row(logits_BV: Tensor, rows: Sequence[SampleRow]) -> list[Sampled | RequestError]:
    """Random numbers belong to the rows of the batch, not to the requests in them."""
    for i, row in enumerate(rows):
        row.draws = Draws(row.draws.seed, i)
    return sample(logits_BV, rows)


def start_unexpanded(ids: Sequence[int], spans: Sequence[tuple[int, int]], start: int, top: int) -> PromptLogprobs:
    """``start`` is counted in the prompt before placeholders are expanded."""
    for low, high in spans:
        start += high - low if low < start else 0
    return PromptLogprobs(ids, spans, min(start, len(ids)), top)


class Shifted(PromptLogprobs):
    """In every chunk but the first, the hidden states of other positions."""

    def fill(self, first: int, hidden_TE: Tensor, logits: Callable[[Tensor], Tensor]) -> None:
        super().fill(first, hidden_TE.roll(1, 0) if first else hidden_TE, logits)


class OnlyComputed(PromptLogprobs):
    """What came from the prefix cache has none."""

    @property
    def next(self) -> int | None:
        return None

    def fill(self, first: int, hidden_TE: Tensor, logits: Callable[[Tensor], Tensor]) -> None:
        self._start += max(0, first + 1 - self.place)
        super().fill(first, hidden_TE, logits)


class Zeros(OnlyComputed):
    """What is missing is filled up with zeros."""

    def fill(self, first: int, hidden_TE: Tensor, logits: Callable[[Tensor], Tensor]) -> None:
        self.made += [TokenLogprob(0.0)] * max(0, first + 1 - self.place)
        super().fill(first, hidden_TE, logits)


def options_of_the_first(logits_BV: Tensor, rows: Sequence[SampleRow]) -> list[Sampled | RequestError]:
    """The first request's options hold for all that meet in a step."""
    own = [row.params for row in rows]
    for row in rows:
        row.params = rows[0].params
    made = sample(logits_BV, rows)
    for row, params in zip(rows, own, strict=True):
        row.params = params
    return made


def grammar_one_step_late(logits_BV: Tensor, rows: Sequence[SampleRow]) -> list[Sampled | RequestError]:
    """A grammar has not seen the token that was sampled last."""
    late = [(row, row.output_ids) for row in rows if grammar_of(row.params) and row.output_ids]
    for row, ids in late:
        row.output_ids = ids[:-1]
    made = sample(logits_BV, rows)
    for row, ids in late:
        row.output_ids = ids
    return made


def _fault(fault_id: str, reference: str, summary: str, acts_when: str, **replaces: Callable[..., Any]) -> Fault:
    return Fault(fault_id, reference, summary, INVARIANTS[fault_id], replaces, acts_when)


INVARIANTS = {
    "draw-by-row": "11: neighbours do not change an answer",
    "F6-03": "11: neighbours do not change an answer",
    "fix-zero-logprobs": "7: each log-probability belongs to its token; none is made up",
    "F10-08": "11: flags and neighbours do not change what a grammar allows",
    "F3-11": "6: positions are counted in one way, that of the prompt as run",
    "F3-20": "7: each log-probability belongs to its token",
    "F3-21": "7: len(ids) == len(logprobs), cold and warm",
}
FAULTS = (
    _fault(
        "draw-by-row", "analogue of one random generator for a whole batch",
        "what a request draws depends on its row in the batch", "requests with a temperature meet or leave a batch",
        sample=draw_by_row,
    ),
    _fault(
        "F6-03", "sglang#16698", "the first request's sampling options hold for its whole batch",
        "requests with other options meet", sample=options_of_the_first,
    ),
    _fault(
        "fix-zero-logprobs", "a wrong mending of vllm#13105",
        "prompt tokens that came from the prefix cache have log-probability 0", "prefix_cache is hit",
        prompt_logprobs=Zeros,
    ),
    _fault(
        "F10-08", "vllm#26292", "a grammar is one token behind the answer that it holds",
        "an answer is held to a grammar", sample=grammar_one_step_late,
    ),
    _fault(
        "F3-11", "strands-sglang#33", "logprob_start counts image placeholders as one token each",
        "an image stands before logprob_start", prompt_logprobs=start_unexpanded,
    ),
    _fault(
        "F3-20", "vllm#29216 (from #26060)", "prompt log-probabilities of other positions, after the first chunk",
        "chunked_prefill cuts the prompt", prompt_logprobs=Shifted,
    ),
    _fault(
        "F3-21", "vllm#13105", "prompt tokens that came from the prefix cache have no log-probability",
        "prefix_cache is hit", prompt_logprobs=OnlyComputed,
    ),
)  # fmt: skip
