"""Log-probabilities: of tokens that were picked, of the likeliest ones in their place, and of the prompt's own tokens.

All are the model's own, in float32, from its logits before bias, penalties, temperature and cuts.

Shapes: B rows, V vocabulary, W rows that want them.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from reference_engine.request import TokenLogprob


def token_logprobs(logits_WV: Tensor, ids_W: Tensor, tops: Sequence[int]) -> list[TokenLogprob]:
    """For each row the log-probability of its id, with as many alternatives as ``tops`` says."""
    logprobs_WV = logits_WV.float().log_softmax(dim=-1)
    chosen = logprobs_WV.gather(1, ids_W[:, None])[:, 0].tolist()
    most = min(max(tops, default=0), logprobs_WV.shape[1])
    if most == 0:
        return [TokenLogprob(logprob) for logprob in chosen]
    values, ids = (made.tolist() for made in logprobs_WV.topk(most, dim=-1))
    return [
        TokenLogprob(logprob, tuple(zip(ids[i][:top], values[i][:top], strict=True)))
        for i, (logprob, top) in enumerate(zip(chosen, tops, strict=True))
    ]
