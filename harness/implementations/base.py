"""What an implementation under test offers: the pure functions of a multimodal front end, each of them optional.

An adapter fills in what its implementation has and leaves out the rest; what is left out is reported as unsupported
with the version that lacks it, never as passed. Everything crosses this border as plain lists, so that no judge
depends on a tensor type. Spans are inclusive at both ends, everywhere. Adapters translate, they never repair:
a wrong answer must arrive here as wrong as it was given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal, Protocol

Span = tuple[int, int]
"""First and last position, both inclusive."""
Grid = tuple[int, int, int]
"""(t, h, w) patches of one span, before merging."""
Size = tuple[int, int]
"""(width, height) of an image in pixels."""
Row = tuple[float, ...]


class Refusal(ValueError):
    """The implementation said no to an input; the message is its own."""


class Unsupported(Exception):
    """The implementation has no such function; says which one, and which version lacks it."""


@dataclass(frozen=True)
class ImageGeometry:
    """How an image processor turns pixels into tokens: the numbers that a count depends on."""

    patch_size: int = 14
    merge_size: int = 2
    min_pixels: int = 28 * 28
    max_pixels: int = 28 * 28 * 64

    @property
    def cell(self) -> int:
        """Side in pixels of the square that becomes one token."""
        return self.patch_size * self.merge_size


@dataclass(frozen=True)
class Expansion:
    """Ids with every placeholder expanded, and where each item's placeholders went, span by span."""

    ids: list[int]
    spans: list[list[Span]]


@dataclass(frozen=True)
class Positions:
    """MRoPE positions: three rows (time, height, width) of one number a token, and what decoding adds to its index."""

    rows: list[list[int]]
    delta: int


@dataclass(frozen=True)
class Segment:
    """A part of a prompt: text of ``length`` tokens, or one image or video of this grid.

    ``seconds`` are between two frames of a video's grid.
    """

    kind: Literal["text", "image", "video"]
    length: int
    grid: Grid = (0, 0, 0)
    seconds: float = 1.0


@dataclass(frozen=True)
class Measured:
    """One image in a family's processor; None where it refuses.

    ``counted`` are its tokens by its size alone, ``run`` those in the prompt that was made of its pixels.
    """

    counted: int | None
    run: int | None


@dataclass(frozen=True)
class Picture:
    """A decoded image: its (width, height), and one (red, green, blue) of 0 to 255 a pixel, row by row from the top."""

    size: Size
    pixels: list[tuple[int, int, int]]


@dataclass(frozen=True)
class Answered:
    """What an engine has to tell of one answer. Ids that were not asked for are None."""

    text: str
    finish_reason: str
    output_ids: list[int] | None = None
    prompt_ids: list[int] | None = None


class CountTokens(Protocol):
    def __call__(self, sizes: Sequence[Size], geometry: ImageGeometry) -> list[list[int]]:
        """Tokens of each span of each item. Raises :class:`Refusal` for a size that cannot be served."""


class CountBandedTokens(Protocol):
    def __call__(self, sizes: Sequence[Size], geometry: ImageGeometry, band_cells: int) -> list[list[int]]:
        """The same where an image is cut into horizontal bands of ``band_cells`` cells, one span a band."""


class ExpandIds(Protocol):
    def __call__(self, ids: Sequence[int], placeholder: int, replacements: Sequence[Sequence[int]]) -> Expansion:
        """Replace the k-th placeholder by the k-th replacement. Raises :class:`Refusal` if the numbers differ."""


class ContractIds(Protocol):
    def __call__(self, expansion: Expansion, placeholder: int, replacements: Sequence[Sequence[int]]) -> list[int]:
        """The ids before the expansion."""


class FindOffsets(Protocol):
    def __call__(self, ids: Sequence[int], placeholder: int, counts: Sequence[Sequence[int]]) -> list[list[Span]]:
        """Each item's spans in expanded ids. Raises :class:`Refusal` unless the ids hold exactly ``counts``."""


class PadIds(Protocol):
    def __call__(self, ids: Sequence[int], items: Sequence[tuple[Sequence[Span], int]]) -> list[int]:
        """The ids with each item's spans overwritten by its own value, as prefix caches key them (sglang#26116)."""


class PlacePositions(Protocol):
    def __call__(self, length: int, spans: Sequence[Span], grids: Sequence[Grid], merge_size: int) -> Positions:
        """Positions of a prompt of ``length`` tokens whose image spans, in order, have these grids."""


class WindowPositions(Protocol):
    def __call__(self, positions: Positions, start: int, stop: int) -> list[list[int]]:
        """Positions of the tokens in [start, stop), which may lie past the prompt, in what is decoded."""


class SplitRows(Protocol):
    def __call__(
        self, rows: Sequence[Row], row_counts: Sequence[Sequence[int]], placeholders: Sequence[Sequence[int]]
    ) -> list[list[Row] | Refusal]:
        """An encoder batch cut into items: rows as returned per item and span, against what the spans hold.

        An item whose numbers disagree gets a :class:`Refusal` in its place; its neighbours get their rows.
        """


class StreamText(Protocol):
    def __call__(self, vocabulary: Sequence[bytes], special: Sequence[int], ids: Sequence[int]) -> list[str]:
        """The text that each id released, and last what was held to the end. Special ids add no text."""


class DecodeBatch(Protocol):
    def __call__(
        self,
        kind: str,
        vocabulary: Sequence[bytes],
        special: Sequence[int],
        sequences: Sequence[Sequence[int]],
        skip_special: bool,
    ) -> list[str]:
        """The text of each sequence. ``kind`` of tokenizer: ``fast``, or ``tiktoken`` for a slow one (sglang#25309)."""


class ReadImage(Protocol):
    def __call__(self, data: bytes) -> Picture:
        """What a file in any format and mode shows, upright. Raises :class:`Refusal` for what is no whole image."""


class NormalizeImage(Protocol):
    def __call__(self, picture: Picture, geometry: ImageGeometry) -> Sequence[Sequence[float]]:
        """The encoder's input as Qwen2-VL has it: patches, each its channels, frames, rows and columns in turn."""


class LayRows(Protocol):
    def __call__(self, text: Sequence[Row], rows: Sequence[Row], places: Sequence[int]) -> Sequence[Sequence[float]]:
        """A chunk's embeddings: ``text`` with ``rows`` at ``places``. Raises :class:`Refusal` if the numbers differ."""


class ReusePositions(Protocol):
    def __call__(self, rows: Sequence[Any], delta: int, length: int) -> Positions | None:
        """Positions that came with a prompt of ``length`` tokens (sglang#26116), in any nesting; None: not used."""


class ReuseIds(Protocol):
    def __call__(self, given: Sequence[int], run: Sequence[int]) -> bool:
        """Whether what a processor made of the prompt ``given`` is used for the prompt ``run``."""


class BlockKeys(Protocol):
    def __call__(
        self, ids: Sequence[int], items: Sequence[tuple[Sequence[Span], int]], block_size: int
    ) -> Sequence[int | str]:
        """Keys of expanded ids' full blocks in a prefix cache; each item with its spans and its content's number."""


class ReadRequest(Protocol):
    def __call__(self, way: str, body: Mapping[str, Any], rewritten: bool) -> Mapping[str, Any]:
        """What the engine is asked for by a body that came this way: each sampling parameter that can be sent, under
        the name that it is sent by. ``rewritten``: the body was read, written out as JSON, and that was read.

        Raises :class:`Refusal` for a body that is not taken.
        """


class WriteAnswer(Protocol):
    def __call__(self, way: str, answer: Answered) -> Mapping[str, Any]:
        """The body of the response, read back from its JSON."""


class ChunkRows(Protocol):
    def __call__(
        self, rows: Sequence[Row], placeholders: Sequence[Sequence[int]], start: int, stop: int
    ) -> Sequence[Sequence[float]]:
        """Rows that tokens [start, stop) of one prompt get: token 0 is text, then spans with one text token after each.

        ``rows`` are those of all items in order, as many as ``placeholders`` hold.
        """


class ItemKey(Protocol):
    def __call__(self, values: Sequence[float], shape: Sequence[int], dtype: str) -> int | str:
        """The key under which an image's pixels are cached; ``dtype`` is a numpy name."""


class SpreadBatch(Protocol):
    def __call__(self, size: int) -> Sequence[tuple[str, Any, Sequence[Any]]]:
        """For every declared request field with one value for a whole batch: name, value given, value each request got.

        The adapter gives each field a value that is not its default.
        """


class PlaceSegments(Protocol):
    def __call__(self, family: str, segments: Sequence[Segment], padding: int) -> Positions:
        """Positions of a prompt of these segments in a family, ``padding`` tokens before them left out again."""


class MeasureImage(Protocol):
    def __call__(self, family: str, size: Size) -> Measured:
        """What a family counts for an image of this size, and what it makes of one."""


@dataclass(frozen=True)
class Implementation:
    """A named, versioned provider. A capability that is None is unsupported."""

    name: str
    version: str
    planted: str | None = None
    """The fault planted in it on purpose, if any."""
    count_tokens: CountTokens | None = None
    count_banded_tokens: CountBandedTokens | None = None
    expand_ids: ExpandIds | None = None
    contract_ids: ContractIds | None = None
    find_offsets: FindOffsets | None = None
    pad_ids: PadIds | None = None
    place_positions: PlacePositions | None = None
    window_positions: WindowPositions | None = None
    split_rows: SplitRows | None = None
    stream_text: StreamText | None = None
    decode_batch: DecodeBatch | None = None
    chunk_rows: ChunkRows | None = None
    lay_rows: LayRows | None = None
    item_key: ItemKey | None = None
    block_keys: BlockKeys | None = None
    spread_batch: SpreadBatch | None = None
    read_request: ReadRequest | None = None
    write_answer: WriteAnswer | None = None
    read_image: ReadImage | None = None
    normalize_image: NormalizeImage | None = None
    reuse_positions: ReusePositions | None = None
    reuse_ids: ReuseIds | None = None
    place_segments: PlaceSegments | None = None
    measure_image: MeasureImage | None = None
    families: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Names that a capability knows as ``family``, ``way`` or ``kind``."""
    reasons: Mapping[str, str] = field(default_factory=dict)
    """Why a capability is missing, where there is more to say than that it is."""

    @classmethod
    def capabilities(cls) -> tuple[str, ...]:
        """Names of everything that an implementation may offer."""
        return tuple(f.name for f in fields(cls) if f.name not in ("name", "version", "planted", "families", "reasons"))

    def supported(self) -> tuple[str, ...]:
        return tuple(name for name in self.capabilities() if getattr(self, name) is not None)

    def require(self, capability: str) -> None:
        """Raise :class:`Unsupported` unless the capability is there."""
        if getattr(self, capability) is None:
            reason = f": {self.reasons[capability]}" if capability in self.reasons else ""
            raise Unsupported(f"unsupported: {self.name} {self.version} has no {capability}{reason}")
