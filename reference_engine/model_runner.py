"""One forward pass over the packed batch of a step: ids and image rows in, logits of the rows that sample out.

The row holds the new tokens of all requests end to end, decoding requests first. Image rows are laid over the
embeddings by position, from each prompt's expansion record, cut by the same window as ids and positions.

Shapes: T new tokens of the step, E hidden, V vocabulary, N sampling requests, B decoding requests.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import torch
from torch import Tensor

from reference_engine.attention import Backend, PagedStep, Window
from reference_engine.device import to_device
from reference_engine.faults.seams import CLEAN, Seams
from reference_engine.graphs import DecodeGraphs, Recorder
from reference_engine.kv_cache import KVCache
from reference_engine.scheduler import Chunk


class Decoder(Protocol):
    """The language model, as :mod:`reference_engine.hf` wraps it."""

    def embed(self, ids_T: Tensor) -> Tensor:
        """Embeddings [T, E], free to be written to."""

    def forward(
        self, x_TE: Tensor, positions_3T: Tensor, step: PagedStep, deepstack: tuple[Tensor, Tensor] | None = None
    ) -> Tensor:
        """Hidden states [T, E]. ``deepstack``: mask [T] of image rows, and what layer m adds to them [R, M, E]."""

    def logits(self, hidden_NE: Tensor) -> Tensor:
        """float32 [N, V]."""


class ModelRunner:
    def __init__(
        self, decoder: Decoder, cache: KVCache, backend: Backend, seams: Seams = CLEAN,
        recorder: Recorder | None = None,
    ) -> None:  # fmt: skip
        """With a ``recorder``, steps in which every request decodes are recorded and replayed."""
        self.decoder = decoder
        self.graphs = (
            None if recorder is None else DecodeGraphs(decoder.forward, cache, backend, recorder, seams.copy_inputs)
        )
        self.cache = cache
        self.backend = backend
        self.seams = seams

    def run(self, chunks: Sequence[Chunk]) -> Tensor:
        """Logits [N, V] of the chunks that sample, in their order. Expects decoding chunks first; writes the cache."""
        decoding = [c for c in chunks if c.is_decode]
        filling = chunks[len(decoding) :]
        x_TE, deepstack = self._embeddings(decoding, filling)
        positions_3T = self._positions(decoding, filling)
        if positions_3T.shape != (3, len(x_TE)):
            raise ValueError(f"positions {list(positions_3T.shape)} for {len(x_TE)} tokens")
        windows = [_window(c) for c in chunks]
        if self.graphs is not None and not filling:
            hidden_TE = self.graphs.run(x_TE, positions_3T, windows)
            for chunk in decoding:
                chunk.live.replayed += 1
        else:
            hidden_TE = self.decoder.forward(x_TE, positions_3T, self.backend(self.cache, windows), deepstack)
        self._score_prompts(chunks, hidden_TE)
        ends = self.seams.last_rows([c.stop - c.start for c in chunks])
        return self.decoder.logits(hidden_TE[to_device(ends[[c.samples for c in chunks]], hidden_TE.device)])

    def _score_prompts(self, chunks: Sequence[Chunk], hidden_TE: Tensor) -> None:
        """Log-probabilities of the prompts' own tokens, where they were asked for."""
        first = 0
        for chunk in chunks:
            size = chunk.stop - chunk.start
            if chunk.live.prompt_logprobs is not None:
                chunk.live.prompt_logprobs.fill(chunk.start, hidden_TE[first : first + size], self.decoder.logits)
            first += size

    def _embeddings(
        self, decoding: Sequence[Chunk], filling: Sequence[Chunk]
    ) -> tuple[Tensor, tuple[Tensor, Tensor] | None]:
        """Embeddings [T, E] with the step's image rows laid over them, and what deepstack layers add later."""
        last_B = torch.tensor(self.seams.last_tokens(decoding), dtype=torch.int64)
        ids_T = torch.cat([last_B, *[c.live.ids(c.start, c.stop) for c in filling]])
        x_TE = self.seams.embed(self.decoder, ids_T, decoding)
        first, width = len(decoding), x_TE.shape[1]
        places, rows = [], []
        for chunk in filling:
            for places_R, rows_RD in self._image_rows(chunk, width):
                places.append(places_R + first)
                rows.append(rows_RD)
            first += chunk.stop - chunk.start
        if not rows:
            return x_TE, None
        places_R, rows_RD = torch.cat(places).to(x_TE.device), torch.cat(rows).to(x_TE.dtype)
        self.seams.lay_rows(x_TE, places_R, rows_RD[:, :width])
        if rows_RD.shape[1] == width:
            return x_TE, None
        mask_T = torch.zeros(len(x_TE), dtype=torch.bool, device=x_TE.device).index_fill_(0, places_R, True)
        return x_TE, self.seams.deepstack_of(mask_T, rows_RD[:, width:].unflatten(1, (-1, width)), decoding)

    def _image_rows(self, chunk: Chunk, width: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Places within the chunk, and the rows that go there; nothing where it has no image."""
        live = chunk.live
        if not len(live.image_places_R):
            return
        places, rows = self.seams.image_window(live.image_places_R, live.first_row, chunk.start, chunk.stop)
        if places.start == places.stop:
            return
        if live.image_rows_RD is None or rows.start < 0:
            raise ValueError(f"request {live.id} has no rows for image tokens {chunk.start} to {chunk.stop - 1}")
        yield live.image_places_R[places] - chunk.start, self.seams.cut_rows(live.image_rows_RD, rows, width)

    def _positions(self, decoding: Sequence[Chunk], filling: Sequence[Chunk]) -> Tensor:
        parts = [self.seams.decode_positions([c.start for c in decoding], [c.live.prompt.delta for c in decoding])]
        for chunk in filling:
            prompt = chunk.live.prompt
            parts.append(self.seams.chunk_positions(prompt.positions_3L, prompt.delta, chunk.start, chunk.stop))
        return torch.cat(parts if decoding else parts[1:], dim=1)


def _window(chunk: Chunk) -> Window:
    live, start, stop = chunk
    assert live.lane is not None, "only admitted requests are scheduled"
    spans = live.prompt.both_ways
    return Window(live.lane, start, stop, tuple(span for span in spans if start <= span[1] < stop) if spans else ())
