"""Faults of MRoPE positions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from reference_engine.faults.catalogue import Fault
from reference_engine.multimodal import mrope as clean
from reference_engine.multimodal.placeholders import Grid, Span
from reference_engine.multimodal.prompt import PreparedPrompt
from reference_engine.request import Request

OWN = "10: positions belong to the request"
BY_ROWS = "10: output depends on all three rows of the positions"
Placed = tuple[Tensor, int]


def swap_height_and_width(
    length: int, spans: Sequence[Span], grids: Sequence[Grid], merge_size: int, strides: Sequence[float] = ()
) -> Placed:
    """Height and width of every grid change places; a square one hides it."""
    return clean.mrope_positions(length, spans, [(t, w, h) for t, h, w in grids], merge_size, strides)


def whole_strides(
    length: int, spans: Sequence[Span], grids: Sequence[Grid], merge_size: int, strides: Sequence[float] = ()
) -> Placed:
    """Positions between frames are cut to whole numbers before they are multiplied."""
    return clean.mrope_positions(length, spans, grids, merge_size, [float(int(stride)) for stride in strides])


def without_frame_rate(
    length: int, spans: Sequence[Span], grids: Sequence[Grid], merge_size: int, strides: Sequence[float] = ()
) -> Placed:
    return clean.mrope_positions(length, spans, grids, merge_size, [1.0 for _ in strides])


class LastDelta:
    """The delta is kept on the model, where the next prompt overwrites it."""

    def __init__(self) -> None:
        self._delta = 0

    def place(
        self, length: int, spans: Sequence[Span], grids: Sequence[Grid], merge_size: int, strides: Sequence[float] = ()
    ) -> Placed:
        positions, self._delta = clean.mrope_positions(length, spans, grids, merge_size, strides)
        return positions, self._delta

    def decode(self, tokens: Sequence[int], deltas: Sequence[int]) -> Tensor:
        return clean.decode_positions(tokens, [self._delta] * len(deltas))


class LastPositions:
    """Positions are computed for a new length alone, else left from the prompt before."""

    def __init__(self) -> None:
        self._left: dict[int, Placed] = {}

    def __call__(
        self, length: int, spans: Sequence[Span], grids: Sequence[Grid], merge_size: int, strides: Sequence[float] = ()
    ) -> Placed:
        if length not in self._left:
            self._left = {length: clean.mrope_positions(length, spans, grids, merge_size, strides)}
        return self._left[length]


class KeptPositions:
    """The positions of every chunk stay on a list."""

    def __init__(self) -> None:
        self._kept: list[Tensor] = []

    def __call__(self, positions: Tensor, delta: int, start: int, stop: int) -> Tensor:
        chunk = clean.chunk_positions(positions, delta, start, stop)
        self._kept += [chunk, positions]
        return chunk


def chunk_without_delta(positions: Tensor, delta: int, start: int, stop: int) -> Tensor:
    """Generated tokens sit at their plain index."""
    return clean.chunk_positions(positions, 0, start, stop)


def decode_without_delta(tokens: Sequence[int], deltas: Sequence[int]) -> Tensor:
    return clean.decode_positions(tokens, [0] * len(deltas))


def time_in_all_rows(positions: Tensor, delta: int, start: int, stop: int) -> Tensor:
    """A kernel reads the first of three rows for all of them."""
    return clean.chunk_positions(positions, delta, start, stop)[:1].expand(3, -1)


def open_ended(positions: Tensor, delta: int, start: int, stop: int) -> Tensor:
    """A chunk gets the positions of all that is left of its prompt."""
    length = positions.shape[1]
    return clean.chunk_positions(positions, delta, start, max(stop, length) if start < length else stop)


def inherited_delta(tokens: Sequence[int], deltas: Sequence[int]) -> Tensor:
    """A request without images gets the delta of one that has some."""
    largest = min(deltas, default=0)
    return clean.decode_positions(tokens, [delta or largest for delta in deltas])


def _counted(prompt: PreparedPrompt) -> PreparedPrompt:
    return replace(prompt, positions_3L=clean.plain_positions(len(prompt.ids)), delta=0)


def no_grids_for_processed(request: Request, prompt: PreparedPrompt) -> PreparedPrompt:
    """A prompt that comes with a processor's output has no grids to be placed by."""
    return prompt if request.processor_output is None else _counted(prompt)


def no_positions_for_ids(request: Request, prompt: PreparedPrompt) -> PreparedPrompt:
    """Prompts of ids go past the processor that computes positions."""
    return prompt if request.input_ids is None or request.processor_output is not None else _counted(prompt)


LAST_DELTA = LastDelta()
MROPE = "MRoPE"
FAULTS = (
    Fault(
        "mrope-swap-hw", "analogue of transposed sizes (vllm#45244)",
        "MRoPE lays images out with height and width swapped",
        BY_ROWS, {"mrope_positions": swap_height_and_width}, "an image is not square", families=MROPE, analogue=True,
    ),
    Fault(
        "F4-01", "sglang#34446", "the time row stands for height and width too", BY_ROWS,
        {"chunk_positions": time_in_all_rows}, "the request has an image", families=MROPE,
        hardware="reported on CUDA, planted anywhere",
    ),
    Fault(
        "F4-03", "sglang#23435", "prompts that come with a processor's output are placed as if they were text", OWN,
        {"positions_of": no_grids_for_processed}, "a request carries a processor's output", families=MROPE,
    ),
    Fault(
        "F4-04", "sglang#19973", "prompts of ids are placed as if they were text", OWN,
        {"positions_of": no_positions_for_ids}, "a prompt with an image is sent as ids", families=MROPE,
    ),
    Fault(
        "F4-05", "vllm#10388", "a chunk gets the positions of all that is left of its prompt",
        "10: positions have shape exactly [3, tokens scheduled]", {"chunk_positions": open_ended},
        "a prompt takes several chunks", ("chunked_prefill",),
    ),
    Fault(
        "F4-07", "mlx-vlm#1143 (and transformers#44873)",
        "the delta is kept on the model, where a later prompt overwrites it",
        OWN, {"mrope_positions": LAST_DELTA.place, "decode_positions": LAST_DELTA.decode},
        "prompts of other deltas come while one decodes", families=MROPE,
    ),
    Fault(
        "F4-08", "mlx-vlm#1095", "a request of text inherits the delta of a neighbour", OWN,
        {"decode_positions": inherited_delta}, "text and images decode together", families=MROPE,
    ),
    Fault(
        "F4-09", "mlx-vlm#1527", "generated tokens are placed at their index, as if images took one position a token",
        OWN, {"chunk_positions": chunk_without_delta, "decode_positions": decode_without_delta},
        "the delta is not zero and more than one token is generated", families=MROPE,
    ),
    Fault(
        "F4-12", "transformers#48669", "positions between frames are cut to whole numbers first", BY_ROWS,
        {"mrope_positions": whole_strides}, "a video whose frames are no whole number of positions apart",
        families="videos placed by time",
    ),
    Fault(
        "F4-13", "vllm#47736", "a video's frame rate does not reach its positions", BY_ROWS,
        {"mrope_positions": without_frame_rate}, "a video of another frame rate", families="videos placed by time",
    ),
    Fault(
        "F4-17", "unsloth#10778", "positions of the prompt before are used for one of the same length", OWN,
        {"mrope_positions": LastPositions()}, "two prompts of one length have images in other places", families=MROPE,
    ),
    Fault(
        "F8-12", "sglang#24182", "position tensors stay after their request has ended",
        "13: all counters return to baseline; a finished request holds no tensor",
        {"chunk_positions": KeptPositions()},
    ),
)  # fmt: skip
