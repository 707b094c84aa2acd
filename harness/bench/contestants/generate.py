"""transformers' ``generate``: one request at a time, which is also the oracle; and padded batches of what has arrived.

A padded batch runs until its longest answer is complete; shorter ones are cut to what was asked for. Padding is on the
left, and the batch is formed anew from whatever waits when the last one ended.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import transformers

from harness.bench.contestants.base import Contestant, Door, Setup
from harness.bench.pictures import open_pictures
from harness.observation import Prompt

MOST = 32
"""Requests of one padded batch."""


class OneByOne(Contestant):
    most: int = 1

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self.model = load_model(setup)
        self.processor = transformers.AutoProcessor.from_pretrained(setup.model, local_files_only=True)
        self.processor.tokenizer.padding_side = "left"

    def prepare(self, prompts: Sequence[Prompt]) -> None:
        self._images = {prompt.name: open_pictures(prompt) for prompt in prompts}

    @torch.inference_mode()
    def serve(self, door: Door) -> None:
        while door.is_open:
            door.wait()
            batch = door.arrived(self.most)
            longest = max(prompt.max_new_tokens for prompt in batch)
            inputs = self._inputs(batch).to(self.setup.device)
            made = self.model.generate(**inputs, max_new_tokens=longest, do_sample=False)
            new = made[:, inputs["input_ids"].shape[1] :].tolist()
            for prompt, ids in zip(batch, new, strict=True):
                door.answer(prompt.name, ids[: prompt.max_new_tokens])

    def _inputs(self, batch: Sequence[Prompt]) -> Any:
        """As the processor makes them from text; refused where it makes other ids than the prompt's."""
        texts = [self.processor.tokenizer.decode(prompt.ids) for prompt in batch]
        images = [self._images[prompt.name] for prompt in batch]
        inputs = self.processor(text=texts, images=images if any(images) else None, padding=True, return_tensors="pt")
        self._check(batch, inputs)
        return inputs

    def _check(self, batch: Sequence[Prompt], inputs: Any) -> None:
        image = self.model.config.image_token_id
        for prompt, ids, mask in zip(
            batch, inputs["input_ids"].tolist(), inputs["attention_mask"].tolist(), strict=True
        ):
            run = [i for i, real in zip(ids, mask, strict=True) if real and i != image]
            if run != [i for i in prompt.ids if i != image]:
                raise ValueError(f"{prompt.name}: the processor made other ids than were asked for")


class Padded(OneByOne):
    most = MOST


def load_model(setup: Setup) -> Any:
    """transformers' own class of the checkpoint, with the attention that it chooses by itself."""
    transformers.utils.logging.disable_progress_bar()
    model = transformers.AutoModelForImageTextToText.from_pretrained(
        setup.model, dtype=getattr(torch, setup.dtype), local_files_only=True
    )
    return model.to(setup.device).eval().requires_grad_(False)
