"""Log-probabilities: of tokens that were picked, of the likeliest ones in their place, and of the prompt's own tokens.

All are the model's own, in float32, from its logits before bias, penalties, temperature and cuts. A prompt's positions
are those of the prompt as run, placeholders expanded. Two kinds of them have none: the first, which nothing comes
before, and those of image features, where no token is predicted (the placeholder's id says nothing of the image).

Shapes: B rows, V vocabulary, W rows that want them, L prompt tokens, T tokens of a chunk, E hidden.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from reference_engine.device import runs_kernels
from reference_engine.errors import RequestError
from reference_engine.request import TokenLogprob

SLICE = 256
"""Prompt rows whose logits are held at once."""


def token_logprobs(logits_WV: Tensor, ids_W: Tensor, tops: Sequence[int]) -> list[TokenLogprob]:
    """For each row the log-probability of its id, with as many alternatives as ``tops`` says."""
    logprobs_WV = log_softmax(logits_WV.float())
    chosen = logprobs_WV.gather(1, ids_W[:, None].to(logprobs_WV.device))[:, 0].tolist()
    most = min(max(tops, default=0), logprobs_WV.shape[1])
    if most == 0:
        return [TokenLogprob(logprob) for logprob in chosen]
    values, ids = (made.tolist() for made in logprobs_WV.topk(most, dim=-1))
    return [
        TokenLogprob(logprob, tuple(zip(ids[i][:top], values[i][:top], strict=True)))
        for i, (logprob, top) in enumerate(zip(chosen, tops, strict=True))
    ]


def log_softmax(logits_WV: Tensor) -> Tensor:
    """Whose rows do not depend on each other. torch's own does on a card, by where a row starts in memory."""
    if not runs_kernels(logits_WV.device):
        return logits_WV.log_softmax(dim=-1)
    from reference_engine.kernels import row_functions

    return row_functions.log_softmax(logits_WV)


def check_start(start: int | None, prompt_length: int) -> None:
    """Raise :class:`RequestError` (400) for a ``logprob_start`` that is no position of the prompt."""
    if start is not None and not 0 <= start <= prompt_length:
        raise RequestError("logprob_start", f"{start} is not from 0 to {prompt_length}, the prompt's length as run")


class PromptLogprobs:
    """Those of a prompt from position ``start`` on, made while the prompt is computed, in whatever chunks. The choices
    of a request share one: a position is made by the first of them that computes it, and no other needs to.
    """

    def __init__(self, prompt_ids: Sequence[int], spans: Iterable[tuple[int, int]], start: int, top: int) -> None:
        self._ids_L = torch.tensor(prompt_ids, dtype=torch.int64)
        self._predicted_L = torch.ones(len(prompt_ids), dtype=torch.bool)
        for low, high in spans:
            self._predicted_L[low : high + 1] = False
        self._start, self._top = start, top
        self.made: list[TokenLogprob | None] = [None] if start == 0 else []
        self.are_numbers = True
        """False once one of them is NaN."""

    @property
    def place(self) -> int:
        """The first position that is not made."""
        return self._start + len(self.made)

    @property
    def next(self) -> int | None:
        """The same: the token before it must be computed. None if there is no such position."""
        return self.place if self.place < len(self._ids_L) else None

    def fill(self, first: int, hidden_TE: Tensor, logits: Callable[[Tensor], Tensor]) -> None:
        """From the hidden states of tokens ``first`` and following; ``logits`` maps [N, E] to [N, V]."""
        last = min(first + len(hidden_TE), len(self._ids_L) - 1)
        if self.place > last:
            return
        if self.place <= first:
            raise ValueError(
                f"tokens from {first} on were computed; log-probabilities are missing from {self.place} on"
            )
        places_N = torch.arange(self.place, last + 1)
        predicted_N = self._predicted_L[places_N]
        made: list[TokenLogprob] = []
        for part_N in places_N[predicted_N].split(SLICE):
            made += token_logprobs(
                logits(hidden_TE[part_N - 1 - first]), self._ids_L[part_N], [self._top] * len(part_N)
            )
        self.are_numbers &= not any(math.isnan(one.logprob) for one in made)
        numbers = iter(made)
        self.made += [next(numbers) if one else None for one in predicted_N.tolist()]
