"""What the engine asks of a model family. One small file a family, in :mod:`reference_engine.multimodal.families`.

A *media item* has a modality and a size. Three sides must agree on it, and every touch between them is checked:

1. **text side**: :meth:`Family.layout` says, from the size alone, what the item's ONE placeholder becomes. Counting,
   expanding, positions and prediction use nothing else.
2. **pixel side**: :meth:`Family.pixels` runs the checkpoint's own processor on the item itself, and says which layout
   that processor would have made. Another one than the text side's is an error (500) of that request.
3. **model side**: :meth:`Family.collate` joins the tensors of a pass, :meth:`Family.span_rows` takes apart what the
   encoder returned, by what it returned and never by what was expected. A span whose rows are not as many as its
   tokens is an error (500) of that request.

Rows are [tokens, D]. D is the hidden size E, or E x (1 + M) where M deepstack layers add rows of their own to the
decoder's first layers (Qwen3-VL): whatever is split, cached, cut or laid by position is so for all of them at once.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, get_args, runtime_checkable

from PIL import Image
from torch import Tensor

from reference_engine.multimodal.placeholders import ItemSize, Layout, Modality
from reference_engine.request import Video

Tensors = Mapping[str, Tensor]
"""Encoder inputs by the names that transformers' processors and models give them."""


@dataclass(frozen=True)
class Pixels:
    """One item as the checkpoint's processor made it."""

    tensors: Tensors
    layout: Layout
    """What the processor made of it, to be compared with the text side's."""


@dataclass(frozen=True)
class Traits:
    """How the family's model must be run."""

    mrope: bool = False
    """Positions follow grids, in three rows."""
    merge_size: int = 1
    """Patches of a grid that become one token, on a side (MRoPE families)."""
    segments: bool = False
    """The tower takes the bounds of its segments (images, windows) when its attention is called "flash"."""
    both_ways: bool = False
    """Within one span every token sees every other, so no chunk of a prompt may end inside one (Gemma 3)."""
    recurrent: bool = False
    """Layers carry a state from token to token: a request is computed from its first token on, and shares no prefix."""
    refused: Mapping[Modality, int] = field(default_factory=dict)
    """Placeholders that the vocabulary has and this engine does not serve."""


def refused_placeholders(config: Any, served: Container[Modality]) -> dict[Modality, int]:
    """The placeholders that transformers' configuration names and that are not served."""
    named = {modality: getattr(config, f"{modality}_token_id", None) for modality in get_args(Modality)}
    return {modality: token for modality, token in named.items() if token is not None and modality not in served}


class Family(Protocol):
    """Holds no state between calls; safe to call from several threads."""

    @property
    def name(self) -> str: ...

    @property
    def traits(self) -> Traits: ...

    @property
    def placeholders(self) -> Mapping[Modality, int]:
        """The id that stands for one item in a caller's prompt, for every modality that is served."""

    @property
    def written(self) -> Mapping[Modality, str]:
        """The same as text."""

    def layout(self, modality: Modality, size: ItemSize, index: int = 0, count: int = 1) -> Layout:
        """Text side. The item is number ``index`` of ``count`` of its modality in the request, which changes what some
        families write. Raises ``ValueError`` for a size that cannot be served.
        """

    def pixels(self, modality: Modality, item: Image.Image | Video, index: int = 0, count: int = 1) -> Pixels:
        """Pixel side, of an item whose size was laid out."""

    def collate(self, items: Sequence[Tensors]) -> Tensors:
        """The inputs of one encoder pass over items of one modality."""

    def span_rows(self, rows: Any, deepstack: Sequence[Any], items: Sequence[Tensors]) -> list[list[Tensor]]:
        """Model side: what the encoder returned for ``collate(items)``, as rows [r, D] of every span of every item."""


@runtime_checkable
class Divides(Protocol):
    """A family that can be given what its processor made elsewhere."""

    def divide(self, tensors: Tensors) -> list[Pixels]:
        """:meth:`Family.collate` undone, item by item, from nothing but the tensors. ``ValueError`` where they do not
        fit together or are not this checkpoint's.
        """
