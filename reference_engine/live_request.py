"""One choice of a request as the engine runs it: its prompt, what is in the cache, what was generated so far.

``length`` (tokens of prompt and answer so far) only grows. ``computed`` (tokens in the cache) follows it, and falls
back to zero when the request is preempted; what was generated is kept, and computed again like a longer prompt.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from reference_engine.detokenizer import Detokenizer, TextStream
from reference_engine.encoder_cache import Entry, count_rows
from reference_engine.errors import RequestError
from reference_engine.grammar import Grammar
from reference_engine.logprobs import PromptLogprobs
from reference_engine.multimodal.prompt import PreparedPrompt
from reference_engine.prefix_cache import KeyChain
from reference_engine.request import Request, TokenLogprob
from reference_engine.row_print import RowPrint
from reference_engine.sampler import Sampled, SampleRow
from reference_engine.sampling_params import SamplingParams, end_ids
from reference_engine.vision import EncodedItem


@dataclass(eq=False)
class LiveRequest:
    """Identity is the object itself; the request's id is only what the caller calls it."""

    request: Request
    prompt: PreparedPrompt
    stream: TextStream
    sampling: SampleRow
    prompt_ids_L: Tensor
    image_places_R: Tensor
    """Prompt positions that image rows fill, in order: from the expansion record, not by looking for placeholders."""
    chain: KeyChain | None = None
    """Keys of its full KV blocks; None where none is shared."""
    pins: dict[int, Entry] = field(default_factory=dict)
    """Encoder rows it holds, by the number of the item: from admission until the last one is laid."""
    image_rows_RD: Tensor | None = None
    """Those rows end to end, once they are encoded."""
    has_pixels: bool = True
    first_row: int = 0
    """Number of the place that the first of them fills; rows before that were in the prefix cache."""
    sources: dict[int, str] = field(default_factory=dict)
    """Where the rows of each item came from, the first time."""
    encoded: Sequence[EncodedItem] = ()
    row_prints: Sequence[RowPrint] = ()
    """Both kept as evidence, if it was asked for."""
    lane: int | None = None
    turn: int = 0
    """Place in the order of arrival."""
    computed: int = 0
    chunks: int = 0
    cached_tokens: int = 0
    """Prompt tokens found in the prefix cache before the answer began."""
    overlapped: int = 0
    """Steps of others that ran while its images were encoded."""
    replayed: int = 0
    """Steps that a recording was replayed for."""
    preemptions: int = 0
    index: int = 0
    """Which of the request's choices."""
    output_ids: list[int] = field(default_factory=list)
    logprobs: list[TokenLogprob] = field(default_factory=list)
    prompt_logprobs: PromptLogprobs | None = None
    """Shared by the choices of a request; None unless they were asked for."""
    text: list[str] = field(default_factory=list)
    arrival: float = field(default_factory=time.perf_counter)
    timings: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.prompt_length = len(self.prompt.ids)

    @classmethod
    def start(
        cls, request: Request, prompt: PreparedPrompt, stream: TextStream, eos_ids: Collection[int] = (),
        index: int = 0, prompt_logprobs: PromptLogprobs | None = None, places_R: Tensor | None = None,
        grammar: Grammar | None = None,
    ) -> LiveRequest:  # fmt: skip
        """``places_R`` stands for :func:`image_places`."""
        output_ids: list[int] = []
        params, prompt_ids_L = request.sampling, torch.tensor(prompt.ids, dtype=torch.int64)
        return cls(
            request=request,
            prompt=prompt,
            stream=stream,
            sampling=SampleRow(
                params, output_ids, index=index, prompt_ids_L=prompt_ids_L, end_ids=end_ids(params, eos_ids),
                logprobs=request.want_logprobs, top_logprobs=request.top_logprobs, grammar=grammar,
            ),
            output_ids=output_ids,
            prompt_ids_L=prompt_ids_L,
            chain=prompt.chain and prompt.chain.copy(),
            image_places_R=image_places(prompt) if places_R is None else places_R,
            index=index,
            prompt_logprobs=prompt_logprobs,
        )  # fmt: skip

    @property
    def id(self) -> str:
        return self.request.request_id

    @property
    def length(self) -> int:
        return self.prompt_length + len(self.output_ids)

    @property
    def shareable(self) -> int:
        """Length of the beginning that may come from the cache, all but its last token: there the hidden state is
        needed, for the next token or for the first log-probability of the prompt that is still to be made."""
        scored = self.prompt_logprobs.next if self.prompt_logprobs else None
        return self.length if scored is None else scored

    @property
    def is_generating(self) -> bool:
        """Whether all that is known is in the cache, except the token generated last."""
        return self.prompt_length <= self.computed == self.length - 1

    def ids(self, start: int, stop: int) -> Tensor:
        """Tokens ``start`` to ``stop - 1`` of prompt and answer: int64 [stop - start]."""
        prompt_T = self.prompt_ids_L[start:stop]
        if stop <= self.prompt_length:
            return prompt_T
        output = self.output_ids[max(0, start - self.prompt_length) : stop - self.prompt_length]
        return torch.cat([prompt_T, torch.tensor(output, dtype=torch.int64)])

    @property
    def needs_rows(self) -> bool:
        """Whether images are still to be laid and their rows are not here."""
        return bool(self.pins) and self.image_rows_RD is None

    @property
    def awaits_encoder(self) -> bool:
        """Whether rows that it has still to lay are not encoded yet."""
        return self.needs_rows and any(entry.encoded is None for entry in self.pins.values())

    @property
    def image_end(self) -> int:
        """The first token after all images."""
        return int(self.image_places_R[-1]) + 1 if len(self.image_places_R) else 0

    def pin(self, first: int, entries: Sequence[tuple[Entry, str]]) -> None:
        """Hold the rows of items ``first`` and following."""
        self.pins = {first + i: entry for i, (entry, _) in enumerate(entries)}
        self.first_row = sum(count_rows(item) for item in self.prompt.items[:first])
        for i, (_, source) in enumerate(entries):
            self.sources.setdefault(first + i, source)
        if not entries:
            self.strip()

    def strip(self) -> None:
        """Pixels are by far the largest part of a prompt, and a request may decode for long."""
        self.has_pixels = False
        self.prompt = self.prompt.without_pixels()

    def take_rows(self) -> RequestError | None:
        """The rows of all that is pinned, which is encoded by now; or the error of the first item that has none."""
        parts = [entry.encoded for entry in self.pins.values() if entry.encoded is not None]
        if self.request.want_evidence and not self.encoded:
            self.encoded, self.row_prints = parts, [entry.row_print() for entry in self.pins.values()]
        for number, part in zip(self.pins, parts, strict=True):
            if part.error is not None:
                return part.error_of(self.prompt.items[number])
        self.image_rows_RD = torch.cat([part.rows_RD for part in parts if part.rows_RD is not None])
        self.strip()
        return None

    def drop_rows(self) -> list[Entry]:
        """Hold no rows any more. Returns what was held."""
        entries, self.pins, self.image_rows_RD = list(self.pins.values()), {}, None
        return entries

    def mark(self, event: str) -> None:
        """Note when something first happened, in seconds since arrival."""
        if event not in self.timings:
            self.timings[event] = time.perf_counter() - self.arrival

    def advance(self, stop: int) -> None:
        """Tokens before ``stop`` were computed and are in the cache now."""
        self.chunks += self.computed < self.prompt_length and not self.preemptions
        self.computed = stop

    def skip(self, stop: int) -> None:
        """Tokens before ``stop`` were found in the cache."""
        if not self.preemptions:
            self.cached_tokens += stop - self.computed
        self.computed = stop

    def rewind(self) -> None:
        """Nothing is in the cache any more."""
        self.lane = None
        self.computed = 0
        self.preemptions += 1

    def append(self, sampled: Sampled) -> None:
        self.mark("first_token")
        self.output_ids.append(sampled.token)
        if self.chain is not None:
            self.chain.extend([sampled.token])
        if sampled.logprob is not None:
            self.logprobs.append(sampled.logprob)


def image_places(prompt: PreparedPrompt) -> Tensor:
    """Positions int64 [R] that image rows fill, in order: from the expansion record, never by looking for ids."""
    spans = [torch.arange(start, end + 1) for item in prompt.items for start, end in item.spans]
    return torch.cat(spans) if spans else torch.empty(0, dtype=torch.int64)


def open_stream(text: Detokenizer, params: SamplingParams, prompt_ids: Sequence[int]) -> TextStream:
    """Where an answer's text comes out. The prompt's ids have no part in it (vllm#48853)."""
    return TextStream(text, params.stop, keep_stop=params.no_stop_trim)


def answer_tokens(live: LiveRequest, codec: object) -> tuple[list[int], list[TokenLogprob]]:
    """Ids and log-probabilities of an answer: those sampled, all of them, the end token too."""
    return live.output_ids, live.logprobs


def cached_tokens(prompt_length: int, max_new_tokens: int) -> int:
    """Most tokens of a request that are ever in the cache: all but the last one generated."""
    return prompt_length + max_new_tokens - 1
