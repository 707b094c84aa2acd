"""From logits to token ids, all requests of a step at once.

Logits are changed as :mod:`logits_processors` says; greedy rows take the arg max. The others are scaled by temperature,
cut as :mod:`truncation` says, and drawn by inversion of the cumulated probabilities in the order of the vocabulary,
with ONE number a token that depends on (seed, index of the choice, position) alone: see :mod:`philox`. So what a choice
draws does not depend on batch mates, order, chunks or preemption, and is the same again after resumption.
Log-probabilities are the model's own (:mod:`logprobs`).

Shapes: B rows, D rows that are drawn, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from reference_engine.device import runs_kernels, to_device
from reference_engine.errors import RequestError
from reference_engine.grammar import Grammar
from reference_engine.logits_processors import LogitsProcessor, changes_logits, process
from reference_engine.logprobs import token_logprobs
from reference_engine.philox import Draws
from reference_engine.request import TokenLogprob
from reference_engine.sampling_params import SamplingParams, seed_of
from reference_engine.truncation import truncate

GREEDY_BELOW = 1e-5
"""A lower temperature is greedy: dividing by it would overflow."""


NOT_FINITE = RequestError("logits", "the model returned NaN or infinity", status=500)


class SampleRow:
    """One choice as the sampler sees it: a function of its parameters, its prompt and the tokens it got so far
    (``output_ids``, the choice's own list, which grows). Whatever else happens to it, the same ids lead to the same
    draws."""

    def __init__(
        self, params: SamplingParams, output_ids: list[int], *, index: int = 0, prompt_ids_L: Tensor | None = None,
        end_ids: Collection[int] = (), logprobs: bool = False, top_logprobs: int = 0, grammar: Grammar | None = None,
    ) -> None:  # fmt: skip
        self.params = params
        self.output_ids = output_ids
        self.is_greedy = params.temperature < GREEDY_BELOW or params.top_k == 1
        self.changes_logits = changes_logits(params)
        self.draws = Draws(seed_of(params), index)
        self.logprobs, self.top_logprobs = logprobs, top_logprobs
        self._prompt_ids_L = torch.empty(0, dtype=torch.int64) if prompt_ids_L is None else prompt_ids_L
        self.end_ids = end_ids
        self._grammar = grammar
        self._processor: LogitsProcessor | None = None

    def processor(self, vocabulary: int, device: torch.device) -> LogitsProcessor:
        """Made when it is first asked for, brought up to date from then on."""
        if self._processor is None:
            self._processor = LogitsProcessor(
                self.params, self._prompt_ids_L, self.end_ids, vocabulary, device, self._grammar
            )
        self._processor.follow(self.output_ids)
        return self._processor

    @property
    def failure(self) -> RequestError | None:
        """Why no token can be picked, whatever the logits are."""
        return None if self._grammar is None else self._grammar.failure


@dataclass(frozen=True)
class Sampled:
    token: int
    logprob: TokenLogprob | None


def sample(logits_BV: Tensor, rows: Sequence[SampleRow]) -> list[Sampled | RequestError]:
    """One token a row, or an error (500) for a row whose logits are not all finite numbers, or whose grammar failed."""
    pick = pick_by_kernel if runs_kernels(logits_BV.device) else pick_in_torch
    picked_B2 = pick(changed_logits(logits_BV, rows), logits_BV, rows)
    logprobs = _logprobs(logits_BV, picked_B2[:, 0], rows)
    return [
        rows[i].failure or (Sampled(token, logprobs.get(i)) if finite else NOT_FINITE)
        for i, (token, finite) in enumerate(picked_B2.tolist())  # the one copy to the host
    ]


def pick_in_torch(changed_BV: Tensor, logits_BV: Tensor, rows: Sequence[SampleRow]) -> Tensor:
    """int64 [B, 2]: each row's token, and 1 where the model's own logits are all finite."""
    tokens_B = changed_BV.argmax(dim=-1)
    drawn = [i for i, row in enumerate(rows) if not row.is_greedy]
    if drawn:
        tokens_B[drawn] = draw_tokens(changed_BV[drawn], [rows[i] for i in drawn])
    return torch.stack([tokens_B, _all_finite(logits_BV).long()], dim=1)


def pick_by_kernel(changed_BV: Tensor, logits_BV: Tensor, rows: Sequence[SampleRow]) -> Tensor:
    """The same on a card, in one launch of our own kernel. It draws the number of :mod:`philox` itself."""
    from reference_engine.kernels import sampling

    wholes = [[row.draws.seed, row.draws.index, len(row.output_ids), row.params.top_k] for row in rows]
    cuts = [(0.0 if row.is_greedy else row.params.temperature, row.params.top_p, row.params.min_p) for row in rows]
    numbers_B3 = torch.tensor(cuts, dtype=torch.float64)
    numbers_B3[:, 2] = numbers_B3[:, 2].float().log()
    device = logits_BV.device
    wholes_B4 = to_device(torch.tensor(wholes, dtype=torch.int64), device)
    return sampling.pick(changed_BV.float(), logits_BV.float(), wholes_B4, to_device(numbers_B3, device))


def _all_finite(logits_BV: Tensor) -> Tensor:
    """Bool [B]. The smallest and the largest tell: NaN is both where there is one. Fewer passes than to look at all."""
    least_B, most_B = logits_BV.aminmax(dim=-1)
    return (least_B > -torch.inf) & (most_B < torch.inf)  # no comparison holds of NaN


def changed_logits(logits_BV: Tensor, rows: Sequence[SampleRow]) -> Tensor:
    """The logits to pick from; a copy if anything is changed."""
    places = [i for i, row in enumerate(rows) if row.changes_logits]
    if not places:
        return logits_BV
    size, device = logits_BV.shape[1], logits_BV.device
    changed_BV = logits_BV.float().clone()
    changed_BV[places] = process(changed_BV[places], [rows[i].processor(size, device) for i in places])
    return changed_BV


def _logprobs(logits_BV: Tensor, tokens_B: Tensor, rows: Sequence[SampleRow]) -> dict[int, TokenLogprob]:
    wanted = [i for i, row in enumerate(rows) if row.logprobs]
    if not wanted:
        return {}
    made = token_logprobs(logits_BV[wanted], tokens_B[wanted], [rows[i].top_logprobs for i in wanted])
    return dict(zip(wanted, made, strict=True))


def draw_tokens(logits_DV: Tensor, rows: Sequence[SampleRow]) -> Tensor:
    """Random tokens int64 [D] for rows with a temperature above zero."""
    temperature_D1 = torch.tensor([[row.params.temperature] for row in rows], device=logits_DV.device)
    scaled_DV = truncate(logits_DV.float() / temperature_D1, [row.params for row in rows])
    numbers_D1 = torch.tensor([[row.draws.at(len(row.output_ids))] for row in rows], dtype=torch.float64)
    return invert(scaled_DV.softmax(dim=-1), numbers_D1.to(logits_DV.device))


def invert(probabilities_DV: Tensor, numbers_D1: Tensor) -> Tensor:
    """The first token, in the order of the vocabulary, whose cumulated probability is above the number. int64 [D]."""
    cumulated_DV = probabilities_DV.double().cumsum(dim=-1)
    total_D1 = cumulated_DV[:, -1:].contiguous()
    below_total_D1 = torch.nextafter(total_D1, torch.zeros_like(total_D1))
    places_D1 = torch.searchsorted(cumulated_DV, torch.minimum(numbers_D1 * total_D1, below_total_D1), right=True)
    return places_D1[:, 0]
