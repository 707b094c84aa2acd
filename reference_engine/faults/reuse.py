"""Faults of using a processor's output again."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from reference_engine.config import EngineConfig
from reference_engine.faults.catalogue import Fault


def same_length(given: Sequence[int], run: Sequence[int]) -> str | None:
    """Takes two prompts of one length for one prompt."""
    return None if len(given) == len(run) else f"{len(given)} ids instead of {len(run)}"


def three_rows(positions: Tensor, delta: int | None, length: int, text_first: int) -> str | None:
    """Looks at the number of rows only: positions of a shorter or longer prompt pass."""
    return None if positions.ndim == 2 and len(positions) == 3 else "not three rows"


def by_the_last_axis(positions: Tensor, delta: int | None, length: int, text_first: int) -> str | None:
    """The layout is guessed: whatever has a number for every token may be positions."""
    return None if positions.shape[-1] == length else "another number of tokens"


def through_text(config: EngineConfig) -> bool:
    """A prompt of ids is decoded and tokenized again, whatever was asked for."""
    return False


FAULTS = (
    Fault(
        id="F3-01",
        reference="sglang#26555 (and trl#5224)",
        summary="prompts of ids are decoded and tokenized again",
        invariant="6: ids run == ids sent, each placeholder expanded once",
        replaces={"keeps_ids": through_text},
        acts_when="a prompt with an image is sent as ids that the tokenizer would not make",
        toggles=("avoid_retokenize=on",),
    ),
    Fault(
        id="F4-16",
        reference="transformers#40154",
        summary="MRoPE positions of any shape with a number for every token are used",
        invariant="10: positions have shape exactly [3, tokens scheduled]",
        replaces={"positions_disagreement": by_the_last_axis},
        acts_when="a request carries positions of another rank or number of rows",
        toggles=("reuse_processor_output=on",),
        families="MRoPE",
    ),
    Fault(
        id="reuse-ids-by-length",
        reference="sglang#26116 (analogue: processor ids are compared by length)",
        summary="a processor's output is used for any prompt of the same length",
        invariant="6: ids run == ids sent, each placeholder expanded once",
        replaces={"ids_disagreement": same_length},
        acts_when="a request carries the processor output of another prompt of the same length",
    ),
    Fault(
        id="reuse-positions-any-length",
        reference="sglang#26116 (analogue: MRoPE shape is checked without its sequence length)",
        summary="MRoPE positions of another number of tokens, or with another delta, are used",
        invariant="10: positions belong to the request, have shape exactly [3, tokens scheduled]",
        replaces={"positions_disagreement": three_rows},
        acts_when="a request carries MRoPE positions that are not its own",
    ),
)
