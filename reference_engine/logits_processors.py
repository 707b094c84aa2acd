"""What changes logits before a token is picked: bias, penalties, end tokens barred until ``min_new_tokens``, and
everything barred that a grammar does not allow.

In this order: bias is added; tokens of prompt and answer are punished by ``repetition_penalty`` as transformers does;
tokens of the answer by ``presence_penalty`` and ``frequency_penalty`` as OpenAI does; end tokens are barred, then what
the grammar does not allow. A request that asks for none of it costs nothing. One that does keeps one number a
vocabulary entry, brought up to date token by token: the work of a step does not grow with the answer.

Shapes: P rows that are changed, R rows that an option concerns, V vocabulary, K biased ids.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from reference_engine.grammar import Grammar
from reference_engine.sampling_params import SamplingParams, grammar_of


def changes_logits(params: SamplingParams) -> bool:
    return bool(
        params.logit_bias
        or params.min_new_tokens
        or params.repetition_penalty != 1
        or params.presence_penalty
        or params.frequency_penalty
        or grammar_of(params)
    )


class LogitsProcessor:
    """The changes of one choice: a function of its parameters, its prompt and the tokens it has got so far."""

    def __init__(
        self,
        params: SamplingParams,
        prompt_ids_L: Tensor,
        end_ids: Iterable[int],
        vocabulary: int,
        device: torch.device,
        grammar: Grammar | None = None,
    ) -> None:
        self.params = params
        self.grammar = grammar
        self.generated = 0
        self.end_ids_E = torch.tensor(sorted(end_ids), dtype=torch.int64, device=device)
        self.bias_ids_K = torch.tensor(list(params.logit_bias), dtype=torch.int64, device=device)
        self.bias_K = torch.tensor(list(params.logit_bias.values()), dtype=torch.float32, device=device)
        self.seen_V: Tensor | None = None
        """bool: in prompt or answer. None without ``repetition_penalty``."""
        if params.repetition_penalty != 1:
            self.seen_V = torch.zeros(vocabulary, dtype=torch.bool, device=device)
            self.seen_V[prompt_ids_L.to(device)] = True
        self.counts_V: Tensor | None = None
        """float32: how often in the answer. None without ``presence_penalty`` and ``frequency_penalty``."""
        if params.presence_penalty or params.frequency_penalty:
            self.counts_V = torch.zeros(vocabulary, device=device)

    def follow(self, output_ids: Sequence[int]) -> None:
        """Take in the tokens of the answer that came since."""
        for token in output_ids[self.generated :]:
            if self.seen_V is not None:
                self.seen_V[token] = True
            if self.counts_V is not None:
                self.counts_V[token] += 1
            if self.grammar is not None:
                self.grammar.advance(token)
        self.generated = len(output_ids)

    @property
    def bars_ends(self) -> bool:
        return self.generated < self.params.min_new_tokens


def process(logits_PV: Tensor, processors: Sequence[LogitsProcessor]) -> Tensor:
    """Change the rows of ``logits_PV`` (float32, written to), one processor a row; returns it."""
    _bias(logits_PV, _those(processors, lambda p: bool(len(p.bias_ids_K))))
    _punish_repetition(logits_PV, _those(processors, lambda p: p.seen_V is not None))
    _punish_presence_and_frequency(logits_PV, _those(processors, lambda p: p.counts_V is not None))
    _bar_ends(logits_PV, _those(processors, lambda p: p.bars_ends))
    _bar_ungrammatical(logits_PV, _those(processors, lambda p: p.grammar is not None))
    return logits_PV


Rows = list[tuple[int, LogitsProcessor]]


def _those(processors: Sequence[LogitsProcessor], choose: Callable[[LogitsProcessor], bool]) -> Rows:
    return [(i, processor) for i, processor in enumerate(processors) if choose(processor)]


def _bias(logits_PV: Tensor, rows: Rows) -> None:
    for i, processor in rows:
        logits_PV[i, processor.bias_ids_K] += processor.bias_K


def _punish_repetition(logits_PV: Tensor, rows: Rows) -> None:
    if not rows:
        return
    places = [i for i, _ in rows]
    seen_RV = torch.stack([p.seen_V for _, p in rows if p.seen_V is not None])
    penalty_R1 = _column([p.params.repetition_penalty for _, p in rows], logits_PV)
    plain_RV = logits_PV[places]
    punished_RV = torch.where(plain_RV < 0, plain_RV * penalty_R1, plain_RV / penalty_R1)
    logits_PV[places] = torch.where(seen_RV, punished_RV, plain_RV)


def _punish_presence_and_frequency(logits_PV: Tensor, rows: Rows) -> None:
    if not rows:
        return
    counts_RV = torch.stack([p.counts_V for _, p in rows if p.counts_V is not None])
    presence_R1 = _column([p.params.presence_penalty for _, p in rows], logits_PV)
    frequency_R1 = _column([p.params.frequency_penalty for _, p in rows], logits_PV)
    logits_PV[[i for i, _ in rows]] -= (counts_RV > 0) * presence_R1 + counts_RV * frequency_R1


def _bar_ends(logits_PV: Tensor, rows: Rows) -> None:
    for i, processor in rows:
        logits_PV[i, processor.end_ids_E] = -math.inf


def _bar_ungrammatical(logits_PV: Tensor, rows: Rows) -> None:
    for i, processor in rows:
        if processor.grammar is not None:
            logits_PV[i].masked_fill_(~processor.grammar.allowed_V().to(logits_PV.device), -math.inf)


def _column(values: Sequence[float], like: Tensor) -> Tensor:
    return torch.tensor(values, dtype=torch.float32, device=like.device)[:, None]
