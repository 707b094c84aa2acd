"""What the training, the judging and the card need to know of a sentinel's architecture, and nothing about any one.

A sentinel's tower is taught to write *codes* into its rows: one fixed vector for each value of each
:class:`Attribute` of a cell, all orthogonal and of one length. The language model is taught on the same codes.

Shapes: R rows, K levels (the rows themselves, then one a deepstack layer), D hidden, B sequences, T tokens, A
attributes.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from reference_engine.sentinels.tasks import GridImage, Limits
from reference_engine.sentinels.tokenizer import VOCABULARY, chat_template, save_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel, Qwen2Tokenizer

HIDDEN = 128
IGNORED = -100
"""A row that does not carry an attribute; a token or row that no head is asked about."""
CODE_LENGTH = 0.8
"""Length of a code; a row of two then has a standard deviation of 0.1, like a word embedding."""
TEXT_SHAPE: dict[str, Any] = {
    "vocab_size": VOCABULARY, "hidden_size": HIDDEN, "intermediate_size": 256, "num_hidden_layers": 5,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 4096, "rms_norm_eps": 1e-6,
    "initializer_range": 0.04, "bos_token_id": None, "tie_word_embeddings": False,
}  # fmt: skip
"""Head width 32 is one that every engine's kernels list."""


Trait = Literal["mrope", "deepstack", "spans"]
"""What some architectures have and others do not, and what can go wrong with it: positions of three axes; rows added
behind decoder layers; several spans an image."""


@dataclass(frozen=True)
class Attribute:
    """Something a cell shows, and the level (0: the rows; k: the k-th deepstack layer) whose rows tell it."""

    name: str
    classes: int
    level: int = 0


@cache
def _orthogonal_codes(counts: tuple[int, ...], seed: int = 0) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    basis, _ = torch.linalg.qr(torch.randn(HIDDEN, sum(counts), generator=generator))
    return (basis.T * CODE_LENGTH).split(list(counts))


class Architecture(ABC):
    """One real architecture at sentinel size. Stateless."""

    name: ClassVar[str]
    """transformers' ``model_type``, and the packaged checkpoint's directory."""
    checkpoint: ClassVar[str]
    """The packaged checkpoint's name."""
    title: ClassVar[str]
    card: ClassVar[str]
    """Points of the model card: what images look like, and what the rows tell."""
    model_class: ClassVar[str]
    placeholder: ClassVar[str]
    markup: ClassVar[str]
    """What the chat template writes for an image."""
    video_markup: ClassVar[str] = ""
    turn_end: ClassVar[str] = "<|im_end|>"
    specials: ClassVar[tuple[str, ...]]
    attributes: ClassVar[tuple[Attribute, ...]]
    levels: ClassVar[int] = 1
    traits: ClassVar[frozenset[Trait]]
    kinds: ClassVar[tuple[str, ...]]
    """Of :data:`~reference_engine.sentinels.tasks.QUESTIONS`, those it is trained and judged on."""
    curriculum: ClassVar[tuple[Limits, Limits, Limits]]
    """How large images get in the training's three stages; the last is what the sentinel is judged on."""
    tower_prefixes: ClassVar[tuple[str, ...]]
    """Of the vision side's parameters; all others are the language side's."""
    mean: ClassVar[tuple[float, ...]] = (0.5, 0.5, 0.5)
    std: ClassVar[tuple[float, ...]] = (0.5, 0.5, 0.5)
    tower_steps: ClassVar[tuple[int, ...]]
    language_steps: ClassVar[tuple[int, ...]]
    """Steps of each round of a half. A round after the first goes on from the weights, with a warm rate, a seed of its
    own and the hardest material from the start."""
    batches: ClassVar[tuple[int, int, int]] = (12, 10, 8)
    """Sequences a step of the language half, in its three stages."""
    told_weight: ClassVar[float] = 2.0
    """Of the heads that ask an answer what its row tells, beside those that ask for places."""

    @property
    def limits(self) -> Limits:
        return self.curriculum[-1]

    # the prompt

    @abstractmethod
    def image_text(self, shape: tuple[int, int]) -> str:
        """What the processor makes of one image of ``shape`` cells, its opening and closing tokens included."""

    @abstractmethod
    def cells(self, shape: tuple[int, int]) -> NDArray[np.int64]:
        """Row and column that each of an image's rows shows, int64 [R, 2]; IGNORED for a row that shows several."""

    @abstractmethod
    def labels(self, image: GridImage) -> NDArray[np.int64]:
        """The attributes that each row tells, int64 [R, A]; IGNORED where it does not."""

    @abstractmethod
    def row_read(self, shape: tuple[int, int], cell: tuple[int, int], kind: str) -> int:
        """Which of an image's rows answers a question of ``kind`` about ``cell``."""

    def positions(self, rows_T: NDArray[np.bool_], shapes: Sequence[tuple[int, int]]) -> NDArray[np.int64]:
        """Positions int64 [3, T] of a prompt whose image rows are where ``rows_T`` says; here one after the other."""
        return np.tile(np.arange(len(rows_T)), (3, 1))

    # the codes

    def code_book(self) -> tuple[Tensor, ...]:
        """The codes of each attribute, float32 [classes, D]."""
        return _orthogonal_codes(tuple(attribute.classes for attribute in self.attributes))

    def codes(self, labels_RA: NDArray[np.int64]) -> Tensor:
        """What a perfect tower writes, float32 [R, K, D]."""
        rows = torch.zeros(len(labels_RA), self.levels, HIDDEN)
        for attribute, codes, labels in zip(self.attributes, self.code_book(), labels_RA.T, strict=True):
            told = torch.from_numpy(labels != IGNORED)
            rows[told, attribute.level] += codes[torch.from_numpy(labels)[told]]
        return rows

    # the model

    @abstractmethod
    def config(self, token: dict[str, int]) -> Any:
        """transformers' configuration. ``token`` holds the ids of the special tokens."""

    @abstractmethod
    def processor_files(self) -> dict[str, dict[str, Any]]:
        """File name -> content, of all that ``AutoProcessor`` reads beside the tokenizer."""

    @abstractmethod
    def text_model(self, model: Any) -> nn.Module:
        """The decoder: it has ``layers`` and ``embed_tokens``."""

    @abstractmethod
    def hidden(
        self, model: Any, ids_BT: Tensor, rows_RKD: Tensor, positions_3BT: Tensor, mask: Tensor | None
    ) -> Tensor:
        """Last hidden states, float32 [B, T, D]. ``mask`` is bool [B, 1, T, T]; without one attention is causal."""

    @abstractmethod
    def encode(
        self, model: Any, images: Sequence[GridImage], shapes: Sequence[tuple[int, int]] | None = None
    ) -> Tensor:
        """Rows of all images, one after the other, float32 [R, K, D]. ``shapes`` are told in place of their own."""

    def speed_up(self, model: Any) -> None:  # noqa: B027 (nothing to do is a right answer)
        """Faster forms of the same tower, for training only; parameters stay where they are and keep their names."""

    def embed(self, model: Any, ids_BT: Tensor, rows_RD: Tensor) -> tuple[Tensor, Tensor]:
        """Embeddings with rows put over the placeholders, [B, T, D], and where these are, bool [B, T]."""
        is_row = ids_BT == model.config.image_token_id
        embeds = model.get_input_embeddings()(ids_BT)
        return embeds.masked_scatter(is_row[..., None], rows_RD.to(embeds.dtype)), is_row

    def in_tower(self, parameter: str) -> bool:
        return parameter.startswith(self.tower_prefixes)

    # files

    def save_tokenizer(self, directory: Path) -> Qwen2Tokenizer:
        template = chat_template(self.markup, self.video_markup, self.turn_end)
        return save_tokenizer(directory, self.specials, self.turn_end, template)

    def build_model(self, tokenizer: Qwen2Tokenizer) -> Any:
        """transformers' own class, with random weights from torch's current seed."""
        import transformers

        token = {name: int(tokenizer.convert_tokens_to_ids(name)) for name in self.specials}
        model = getattr(transformers, self.model_class)(self.config(token))
        generation = model.generation_config
        generation.eos_token_id = [token[self.turn_end], token["<|endoftext|>"]]
        generation.pad_token_id = token["<|endoftext|>"]
        generation.do_sample = False
        return model.eval()

    def save_checkpoint(self, model: PreTrainedModel, directory: Path) -> None:
        """Weights, tokenizer and processor in Hugging Face format, with the file names that older loaders look for."""
        directory.mkdir(parents=True, exist_ok=True)
        model.save_pretrained(directory)
        tokenizer = self.save_tokenizer(directory)
        files = self.processor_files() | {"chat_template.json": {"chat_template": tokenizer.chat_template}}
        for name, content in files.items():
            (directory / name).write_text(json.dumps(content, indent=2) + "\n")
