"""What goes into the engine and what comes out: plain data, no behaviour beyond validation.

A :class:`Request` names exactly one prompt form. An :class:`Answer` always says how it ended; with
``want_evidence`` it carries everything a judge needs, so that nothing has to be guessed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from PIL import Image

from reference_engine.errors import RequestError
from reference_engine.multimodal.placeholders import VideoSize
from reference_engine.sampling_params import SamplingParams

MAX_TOP_LOGPROBS = 100
if TYPE_CHECKING:
    from reference_engine.multimodal.processor_output import ProcessorOutput

FinishReason = Literal["stop", "length", "abort", "error"]
Alternatives = tuple[tuple[int, float], ...]
"""The likeliest tokens in one place, (id, log-probability), likeliest first."""


@dataclass(frozen=True)
class TokenLogprob:
    """The log-probability of one token, and the likeliest ones in its place."""

    logprob: float
    top: Alternatives = ()


@dataclass(frozen=True)
class Video:
    """Frames in order, all of one size; none is left out or repeated by the engine."""

    frames: Sequence[Image.Image]
    fps: float | None = None
    """Frames a second. Families that write or place frames by time refuse a video without it."""

    @property
    def size(self) -> VideoSize:
        width, height = self.frames[0].size
        return VideoSize(width, height, len(self.frames), self.fps)


@dataclass
class Request:
    """One request. ``images`` are decoded already; reading bytes, URIs and paths is :mod:`multimodal.images`' work."""

    request_id: str
    text: str | None = None
    """Prompt text with special tokens written out, as after a chat template."""
    input_ids: list[int] | None = None
    """Token ids with ONE placeholder an image (or, as some clients send, already expanded)."""
    images: list[Image.Image] = field(default_factory=list)
    videos: list[Video] = field(default_factory=list)
    processor_output: ProcessorOutput | None = None
    """What a processor made of this prompt and its images. Its ids are the prompt if there is no other."""
    sampling: SamplingParams = field(default_factory=SamplingParams)
    want_evidence: bool = False
    want_logprobs: bool = False
    top_logprobs: int = 0
    """Likeliest tokens to report with each log-probability."""
    logprob_start: int | None = None
    """First position of the prompt as run (placeholders expanded) whose log-probability is wanted; None: of none."""

    def __post_init__(self) -> None:
        if self.text is None and self.input_ids is None and self.processor_output is not None:
            self.input_ids = list(self.processor_output.input_ids)
        if (self.text is None) == (self.input_ids is None):
            raise RequestError("text, input_ids", "give exactly one of them")
        if not 0 <= self.top_logprobs <= MAX_TOP_LOGPROBS:
            raise RequestError("top_logprobs", f"{self.top_logprobs} is not from 0 to {MAX_TOP_LOGPROBS}")
        for name, value in (("top_logprobs", self.top_logprobs or None), ("logprob_start", self.logprob_start)):
            if value is not None and not self.want_logprobs:
                raise RequestError(name, f"{value} was asked for, but no log-probabilities")


@dataclass
class ItemEvidence:
    """One image (item) as it was run. A span is inclusive at both ends, in positions of ``prompt_ids``."""

    item: int
    size: tuple[int, int]
    """(width, height) of the decoded image, or of a video's frames, pixels."""
    grids: list[tuple[int, int, int]]
    """(t, h, w) patches, one a span."""
    spans: list[tuple[int, int]]
    placeholders: list[int]
    """Tokens a span holds."""
    encoder_rows: list[int]
    """Rows each span got, before any verification: what the encoder returned for it, unless the split went wrong."""
    source: str
    """Of the rows: ``encoded`` for this request, ``shared`` with one that had them encoded, ``cached``, or ``none``."""
    rows_digest: str
    """SHA-256 of the item's rows as scattered (float32, little endian), hex. Sums in another order change it: rows
    encoded in another batch may differ in their last bits, so compare digests only between runs of the same batches.
    """
    rows_sketch: tuple[float, ...] = ()
    """Four weighted sums of the rows, sensitive to content and order: compare with a tolerance, in any batch."""
    modality: str = "image"


@dataclass
class Evidence:
    prompt_ids: list[int]
    items: list[ItemEvidence]
    mrope_delta: int
    positions_digest: str
    """SHA-256 of the int64 positions [3, prompt tokens], hex."""
    toggles: dict[str, dict[str, Any]]
    """Per toggle ``{"setting": ..., "acted": bool, "reason": str}``; acted is False where it changed nothing."""
    encoder_batch: int
    """Items that shared this request's encoder pass, its own included; 0 without images."""
    prefill_chunks: int
    """Steps that the prompt took, the first time it was computed."""
    cached_tokens: int
    """Prompt tokens found in the prefix cache."""
    preemptions: int
    """How often the request lost its blocks and was computed again."""
    seed: int
    """What drawn tokens were drawn from, given or made up: the same seed draws them again."""
    timings: dict[str, float]
    """Seconds since arrival: ``encoded``, ``scheduled``, ``first_token``, ``finished``."""


@dataclass
class Answer:
    """One choice of a request; there are ``n`` of them."""

    request_id: str
    output_ids: list[int]
    text: str
    finish_reason: FinishReason
    prompt_tokens: int
    """Length of the prompt as run, placeholders expanded."""
    index: int = 0
    """Which of the request's choices, from 0."""
    token_logprobs: list[TokenLogprob] | None = None
    """One for each of ``output_ids``; None unless they were asked for."""
    prompt_logprobs: list[TokenLogprob | None] | None = None
    """One for each position of the prompt from ``logprob_start`` on, as far as it was computed. None for the first
    position and for image features: see :mod:`reference_engine.logprobs`."""
    matched: int | str | None = None
    """The eos id, stop id or stop string that ended it."""
    error: RequestError | None = None
    evidence: Evidence | None = None
    queue_seconds: float | None = field(default=None, compare=False)
    """From submission to the first step that it had a part in; None if it had none."""

    @property
    def completion_tokens(self) -> int:
        return len(self.output_ids)

    @property
    def logprobs(self) -> list[float] | None:
        """One for each of ``output_ids``."""
        return None if self.token_logprobs is None else [one.logprob for one in self.token_logprobs]


@dataclass
class StepOutput:
    """What one step did for one choice of a request. The texts of all its outputs, joined, are the answer's text."""

    request_id: str
    new_ids: list[int]
    new_text: str
    answer: Answer | None
    """Set in the last output of the choice, and only there."""
    index: int = 0
    """Which of the request's choices, from 0."""
    logprobs: list[TokenLogprob] = field(default_factory=list)
    """Of ``new_ids``, if they were asked for."""
