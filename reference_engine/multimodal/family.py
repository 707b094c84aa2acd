"""What the engine asks of a model family: grids, pixels and replacements of one image. One file a family."""

from __future__ import annotations

from typing import Protocol

from PIL import Image
from torch import Tensor

from reference_engine.multimodal.placeholders import Grid, Size


class ImagePatcher(Protocol):
    """Turns one image into one grid of patches, as the checkpoint's own processor does."""

    merge_size: int
    cell: int
    """Pixels, on a side, of the square that becomes one token."""

    def grid(self, size: Size) -> Grid:
        """From the size alone. Raises ``ValueError`` for a size that cannot be served."""

    def patches(self, image: Image.Image) -> tuple[Tensor, Grid]:
        """Pixels [P, C] and the grid they make."""


class Family(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def merge_size(self) -> int: ...

    @property
    def placeholder_id(self) -> int: ...

    @property
    def placeholder(self) -> str:
        """The placeholder as text, for the path that tokenizes again."""

    def grids(self, size: Size) -> list[Grid]:
        """The grids of one item's spans. Raises ``ValueError`` for a size that cannot be served."""

    def patches(self, image: Image.Image) -> tuple[Tensor, list[Grid]]:
        """Pixels [P, C] of all of the item's grids, one after the other."""

    def replacement(self, counts: list[int]) -> list[int]:
        """What ONE placeholder becomes, given the tokens of each span."""

    def replacement_text(self, counts: list[int]) -> str:
        """The same, written out as text."""
