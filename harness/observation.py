"""What was sent and what came back: plain data between targets, checks and records. No behaviour beyond small sums."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from PIL import Image

Evidence = Literal[
    "input_ids", "prompt_ids", "spans", "encoder_rows", "encoder_batch", "output_ids", "logprobs", "toggles"
]
"""What a check may need. ``input_ids``: that prompts are taken as ids; all others: that answers tell it."""


def png_uri(data: bytes) -> str:
    """``data`` as requests carry a picture. Nothing looks at whether it is one."""
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


@dataclass(frozen=True)
class Picture:
    """An image as sent: lossless PNG bytes."""

    png: bytes = field(repr=False)
    width: int
    height: int

    @classmethod
    def of(cls, image: Image.Image) -> Picture:
        buffer = io.BytesIO()
        image.save(buffer, format="PNG")
        return cls(buffer.getvalue(), image.width, image.height)

    @cached_property
    def digest(self) -> str:
        return hashlib.sha256(self.png).hexdigest()

    @cached_property
    def data_uri(self) -> str:
        return png_uri(self.png)


@dataclass(frozen=True)
class Clip:
    """A video as sent: its frames in order, all of one size."""

    frames: tuple[Picture, ...]
    fps: float


@dataclass(frozen=True)
class Prompt:
    """One request of a workload, the same for every setting that it is sent to."""

    name: str
    ids: tuple[int, ...]
    """Token ids with one placeholder a picture."""
    pictures: tuple[Picture, ...]
    question: str
    expected: str
    """The right answer."""
    max_new_tokens: int = 16
    ignore_eos: bool = False
    drift: int = 0
    """``len(tokenize(decode(ids))) - len(ids)``, computed without any engine: what retokenizing must change."""
    retokenized: tuple[int, ...] = ()
    """``tokenize(decode(ids))``."""
    spans_per_item: tuple[int, ...] = ()
    """Spans that the workload means each picture to have."""
    written: tuple[tuple[int, ...], ...] = ()
    """What each picture's placeholder becomes, in models that write tags around its rows; else empty."""
    clips: tuple[Clip, ...] = ()
    """Videos, with one placeholder of their own kind each."""


@dataclass(frozen=True)
class ItemSeen:
    """One picture as the target says it ran it. Spans are inclusive at both ends, in positions of the prompt as run."""

    item: int
    spans: tuple[tuple[int, int], ...]
    encoder_rows: tuple[int, ...] | None = None
    """Rows that the encoder returned for each span; None where the target does not tell."""
    rows_sketch: tuple[float, ...] = ()
    """A few weighted sums of the rows: they tell whose rows they are, whatever batch encoded them."""


@dataclass(frozen=True)
class Scored:
    """A token of a prompt as the target says how likely it was there, and the likeliest ones in its place."""

    token: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True)
class RowMismatch:
    """A target's own report that a picture got another number of encoder rows than its spans hold."""

    item: int
    spans: tuple[tuple[int, int], ...]
    expected: int
    rows: int


@dataclass(frozen=True)
class Observation:
    """What one request met. An answer that is an error keeps its status and message; nothing is filled in."""

    request: str
    setting: str
    status: int
    error: str | None = None
    mismatch: RowMismatch | None = None
    text: str = ""
    output_ids: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()
    """Of the output ids, as exact as the target writes them."""
    finish: str = ""
    prompt_tokens: int | None = None
    prompt_ids: tuple[int, ...] | None = None
    items: tuple[ItemSeen, ...] = ()
    toggles: Mapping[str, Any] = field(default_factory=dict)
    """Per toggle what the target says: setting, whether it acted, why not."""
    encoder_batch: int = 0
    """Pictures that shared this request's encoder pass, its own included."""
    seconds: float = 0.0
    scored: tuple[Scored | None, ...] = ()
    """Of every place of the prompt as run, where that was asked for; None where there is nothing to say."""
    others: tuple[Observation, ...] = ()
    """The further choices of a call that asked for several."""
    lacks: Mapping[Evidence, str] = field(default_factory=dict)
    """What this target never tells -> ``unsupported by NAME VERSION (reason)``."""

    @property
    def ok(self) -> bool:
        return self.error is None

    def right(self, prompt: Prompt) -> bool:
        return self.ok and self.text.strip() == prompt.expected


def words_of_error(body: Any) -> str:
    """What an answer that is none says of itself: OpenAI's ``error.message``, or all of it."""
    error = body.get("error", body) if isinstance(body, Mapping) else body
    return str(error.get("message", error) if isinstance(error, Mapping) else error)


def expansion(items: tuple[ItemSeen, ...]) -> int:
    """Tokens that the placeholders of ``items`` grew by, separators between an item's spans included."""
    return sum(item.spans[-1][1] - item.spans[0][0] for item in items if item.spans)


def why_untold(seen: Iterable[Observation], *needed: Evidence) -> str | None:
    """``unsupported by ...`` if the target never tells some of what is ``needed``; None if it does."""
    return next((one.lacks[name] for one in seen for name in needed if name in one.lacks), None)
