"""Parts of the reference engine alone: prompts made ready, ids made text. Their answers are what they made."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from harness.bench.contestants.base import Contestant, Door, Setup
from harness.bench.contestants.ours import Ours
from harness.observation import Prompt
from harness.workloads.tiktoken_vocabulary import make_ids, write_checkpoint
from reference_engine.tokenizer import TextCodec, load_tokenizer


class PromptMaker(Ours):
    """From what a request holds to the prompt as it would run; nothing is run. An answer is that prompt's ids."""

    def serve(self, door: Door) -> None:
        for prompt in door.arrived():
            door.answer(prompt.name, self.engine.prepare(self._requests[prompt.name]).ids)


class Detokenizer(Contestant):
    """Ids to text, all at once, of a slow tokenizer with ``tokens`` entries. An answer is the text, as code points."""

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
            door.answer(prompt.name, [ord(character) for character in self.codec.text(self._ids[prompt.name])])
