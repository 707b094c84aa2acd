"""A checkpoint without a model, and everything a job needs to run against the stand-in engine."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

sys.path.insert(0, str(Path(__file__).parent))

from standin_target import StandinTarget
from standin_workload import plain_questioner, plain_questions

from harness.jobs import JobContext
from harness.records import Recorder
from harness.vocabulary import Vocabulary

SPECIALS = ("<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>")
TEXTS = [
    "Describe every picture carefully. please transcribe the digit. answer with only what is seen",
    "read system user assistant",
]
WORDS = Regex(r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+")


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A byte-level BPE with Qwen's special tokens and a configuration: all that the harness reads of a model."""
    bpe = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(WORDS, behavior="isolated")
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    bpe.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=420, initial_alphabet=alphabet, show_progress=False)
    bpe.train_from_iterator(TEXTS * 50, trainer)
    bpe.add_special_tokens([AddedToken(token, special=True) for token in SPECIALS])
    directory = tmp_path_factory.mktemp("checkpoint")
    bpe.save(str(directory / "tokenizer.json"))
    config = {"model_type": "stand-in", "image_token_id": bpe.token_to_id("<|image_pad|>")}
    (directory / "config.json").write_text(json.dumps(config))
    return directory


@pytest.fixture(scope="session")
def vocabulary(checkpoint: Path) -> Vocabulary:
    return Vocabulary(checkpoint)


MakeContext = Callable[..., JobContext]


@pytest.fixture
def make_context(checkpoint: Path, tmp_path: Path) -> Iterator[MakeContext]:
    """A context on the stand-in engine; ``flags`` by setting make a server misbehave."""

    recorders: list[Recorder] = []

    def make(flags: dict[str, list[str]] | None = None, **wishes: Any) -> JobContext:
        settings: dict[str, Any] = {"samples": 16, "accuracy_floor": 0.9, "startup_timeout": 20.0} | wishes
        recorders.append(Recorder(tmp_path / "runs"))
        return JobContext(
            StandinTarget(flags or {}),
            str(checkpoint),
            checkpoint,
            recorders[-1],
            questions=plain_questions,
            questioner=plain_questioner,
            **settings,
        )

    yield make
    for recorder in recorders:
        recorder.__exit__()
