"""Slow tokenizers (sglang#25309): text made by the tokenizer's own decoder, and by the way through Hugging Face's
options, on a checkpoint with a tiktoken-like vocabulary that the job writes itself.
"""

from __future__ import annotations

import json
import random
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from harness.asking import ask_streamed
from harness.checks.answers import same_answers
from harness.jobs.base import Job, JobContext
from harness.observation import Observation, Prompt
from harness.toggles import TOGGLES
from harness.workloads.tiktoken_vocabulary import make_ids, write_checkpoint

SAMPLES, AT_ONCE, PROMPT, ANSWER = 16, 8, (4, 40), 40
TOGGLE = TOGGLES["native_decode"]
MODEL = "random-qwen2"
INVARIANT = 7


class NativeDecode(Job):
    name: ClassVar[str] = "native-decode"
    title: ClassVar[str] = "text of a slow tokenizer, made with and without Hugging Face's options"
    about: ClassVar[str] = (
        "A tokenizer that is not a fast one is slow through the options of Hugging Face's decode, and quick through "
        "its own. Random answers of a small text model with a tiktoken-like vocabulary, whose tokens end inside "
        "characters, must read the same either way, as a whole and streamed. How much quicker it is, "
        "`assay bench native_decode` measures."
    )
    sources: ClassVar[tuple[str, ...]] = (TOGGLE.source,)
    compares: ClassVar[tuple[str, ...]] = (TOGGLE.name,)
    plantable: ClassVar[bool] = True

    def run(self, context: JobContext) -> None:
        if (lack := context.target.why_without(TOGGLE.name)) is not None:
            context.unexercised(self.name, "native = with options", lack, INVARIANT, TOGGLE.source)
            return
        with tempfile.TemporaryDirectory() as scratch:
            checkpoint, tokens = slow_checkpoint(Path(scratch) / "slow-tokenizer")
            prompts = id_prompts(context.samples or SAMPLES, tokens, context.seed)
            context.record_prompts(self.name, prompts)
            found: dict[str, list[Observation]] = {}
            for setting in TOGGLE.settings:
                plant = context.plant if setting == TOGGLE.on else None
                launch = replace(context.launch({TOGGLE.name: setting}, plant=plant), model=str(checkpoint))
                with context.servers(self.name, {setting: launch}) as servers:
                    for way, ask in (("", None), (", streamed", ask_streamed)):
                        found[setting + way] = context.ask(
                            self.name, servers[setting], prompts, concurrency=AT_ONCE, ask=ask
                        )
        acted = any(seen.toggles.get(TOGGLE.name, {}).get("acted") for seen in found[TOGGLE.on])
        first = found.pop(TOGGLE.off)
        for name, answers in found.items():
            idle = None if acted or not name.startswith(TOGGLE.on) else f"no answer says that {TOGGLE.name} acted"
            context.file(
                self.name,
                same_answers(
                    (TOGGLE.off, name), prompts, (first, answers),
                    invariant=INVARIANT, source=TOGGLE.source, exercised=idle,
                ),
            )  # fmt: skip


def slow_checkpoint(path: Path) -> tuple[Path, int]:
    """A small text model with random weights and a vocabulary of tiktoken's kind as large as its own; that size less
    the special tokens.
    """
    from reference_engine.random_models import random_model

    shutil.copytree(random_model(MODEL), path)
    for file in path.glob("*token*"):
        file.unlink()
    size = int(json.loads((path / "config.json").read_text(encoding="utf-8"))["vocab_size"])
    write_checkpoint(path, size - 2)
    return path, size - 2


def id_prompts(count: int, tokens: int, seed: int) -> list[Prompt]:
    """Prompts of random ids; what they are answered means nothing."""
    rng = random.Random(seed)
    lengths = [rng.randint(*PROMPT) for _ in range(count)]
    return [
        Prompt(
            name=f"slow-{number:02d}",
            ids=tuple(token for token in make_ids(tokens, length, seed=seed + number) if token < tokens),
            pictures=(), question="", expected="", max_new_tokens=ANSWER, ignore_eos=True,
        )
        for number, length in enumerate(lengths)
    ]  # fmt: skip
