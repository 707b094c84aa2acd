"""Paged attention on a CPU: where lengths differ much, each decoding request attends over its own context, unmasked.

One copy takes the blocks of all decoding requests out of the pages, end to end, into a buffer that all layers share;
each request's keys are a view of it. So nothing is padded to the longest request or computed only to be masked. Chunks
attend as in :mod:`reference_engine.attention.sdpa`.

Shapes: as there; X blocks of all decoding requests, C = X * S tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor

from reference_engine.attention.dot_product import attention
from reference_engine.attention.sdpa import DecodeRows, PaddedRows, SDPAStep
from reference_engine.kv_cache import KVCache

PADDED_VALUES = 8192
"""Of keys, a request: where padding to the longest context adds fewer on the average, one padded call is faster, as a
call has a cost of its own (measured: 4 to 32 requests of 30 to 2,000 tokens, key heads of 64 and 128 values)."""


class RaggedRows:
    """What all layers share of the decoding requests of a step."""

    def __init__(self, cache: KVCache, lanes_B: Tensor, lengths_B: Tensor) -> None:
        table_BK = cache.block_table(lanes_B, int(lengths_B.max()))
        counts_B = (lengths_B + cache.block_size - 1) // cache.block_size
        self.blocks_X = table_BK[torch.arange(table_BK.shape[1]) < counts_B[:, None]]
        self.keys_XSGD, self.values_XSGD = (
            c.new_empty(len(self.blocks_X), *c.shape[2:]) for c in (cache.keys_NKSHD, cache.values_NKSHD)
        )
        tails_B = counts_B * cache.block_size - lengths_B
        cuts = torch.stack([lengths_B, tails_B], dim=1).flatten().tolist()
        self.keys_1GLD, self.values_1GLD = (
            x.flatten(0, 1).transpose(0, 1)[None].split(cuts, dim=2)[::2] for x in (self.keys_XSGD, self.values_XSGD)
        )

    def attend(
        self, q_1HTD: Tensor, keys_KSGD: Tensor, values_KSGD: Tensor, scaling: float, sliding: int | None,
        softcap: float | None = None,
    ) -> Tensor:  # fmt: skip
        """Query heads that share keys stand as rows of one key head; of a sliding window only the end is read."""
        for cached_KSGD, taken_XSGD in ((keys_KSGD, self.keys_XSGD), (values_KSGD, self.values_XSGD)):
            torch.index_select(cached_KSGD.flatten(1), 0, self.blocks_X, out=taken_XSGD.flatten(1))
        q_BHD = q_1HTD[0, :, : len(self.keys_1GLD)].transpose(0, 1)
        q_BGRD = q_BHD.view(len(q_BHD), keys_KSGD.shape[2], -1, q_BHD.shape[2]).contiguous()
        parts_1GRD = [
            attention(q, k[:, :, -(sliding or 0) :], v[:, :, -(sliding or 0) :], scale=scaling, softcap=softcap)
            for q, k, v in zip(q_BGRD.split(1), self.keys_1GLD, self.values_1GLD, strict=True)
        ]
        return torch.cat(parts_1GRD).flatten(1, 2)


def choose_rows(cache: KVCache, lanes_B: Tensor, lengths_B: Tensor) -> DecodeRows:
    """Padded together where lengths are nearly even, each on its own otherwise."""
    added = int(lengths_B.max()) * len(lengths_B) - int(lengths_B.sum())
    values = added * cache.keys_NKSHD.shape[3:].numel()
    rows = PaddedRows if values < PADDED_VALUES * len(lengths_B) else RaggedRows
    return rows(cache, lanes_B, lengths_B)


class RaggedStep(SDPAStep):
    """See :class:`reference_engine.attention.paged.PagedStep`."""

    decode_rows = staticmethod(choose_rows)
