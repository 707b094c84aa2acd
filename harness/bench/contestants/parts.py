"""Parts of the reference engine alone: prompts made ready, ids made text. Their answers tell what they made."""

from __future__ import annotations

import tempfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import torch

from harness.bench.contestants.base import Contestant, Door, Setup
from harness.bench.contestants.ours import Ours
from harness.observation import Prompt
from harness.workloads.tiktoken_vocabulary import make_ids, write_checkpoint
from reference_engine.multimodal.processor_output import ProcessorOutput
from reference_engine.request import Request
from reference_engine.tokenizer import TextCodec, load_tokenizer


class PromptMaker(Ours):
    """From what a request holds to the prompt as it would run; nothing is run. An answer is that prompt's ids."""

    def serve(self, door: Door) -> None:
        for prompt in door.arrived():
            door.answer(prompt.name, self.engine.prepare(self._requests[prompt.name]).ids)


class ProcessedPromptMaker(PromptMaker):
    """The same of requests that carry their processor's output beside their images."""

    def prepare(self, prompts: Sequence[Prompt]) -> None:
        super().prepare(prompts)
        for request in self._requests.values():
            request.processor_output = self._processed(request)

    def _processed(self, request: Request) -> ProcessorOutput:
        made = self.engine.prepare(request)
        names = made.items[0].pixels
        tensors = {name: torch.cat([item.pixels[name] for item in made.items]) for name in names}
        return ProcessorOutput(made.ids, tensors, made.positions_3L, made.delta)


class Detokenizer(Contestant):
    """Ids to text, all at once, of a slow tokenizer with ``tokens`` entries. An answer is the checksum of its
    text: to hand over every character would take longer than to make them.
    """

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self.tokens = int(setup.options["tokens"])
        with tempfile.TemporaryDirectory() as directory:
            tokenizer = load_tokenizer(write_checkpoint(Path(directory), self.tokens))
        native = bool(setup.options["native_decode"])
        self.codec = TextCodec(tokenizer, len(tokenizer), native_decode=native)

    def prepare(self, prompts: Sequence[Prompt]) -> None:
        counts = {prompt.name: prompt.max_new_tokens for prompt in prompts}
        self._ids = {name: make_ids(self.tokens, count, seed=n) for n, (name, count) in enumerate(counts.items())}

    def serve(self, door: Door) -> None:
        for prompt in door.arrived():
            text = self.codec.text(self._ids[prompt.name])
            door.answer(prompt.name, [zlib.crc32(text.encode())])
