"""What may be sent, each field declared once. Unknown fields and wrong types are refused by name.

``null`` means "not given". Names of ``/generate`` are SGLang's, names of ``/v1/chat/completions`` OpenAI's; the
sampling fields are those of :class:`reference_engine.request.SamplingParams`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, get_type_hints

import pydantic
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, ValidationError

from reference_engine.sampling_params import SamplingParams
from reference_engine.server.errors import from_validation

STRICT = ConfigDict(extra="forbid", strict=True)
SAMPLING_FIELDS = tuple(f.name for f in fields(SamplingParams))
LARGEST_INTEGER = 2**63 - 1
_ID = re.compile(r"-?[0-9]{1,18}")

if TYPE_CHECKING:
    from reference_engine.sampling_params import SamplingParams as WireSampling
else:
    WireSampling = pydantic.dataclasses.dataclass(SamplingParams, config=STRICT, frozen=True)


class Body(BaseModel):
    model_config = STRICT


AnyBody = TypeVar("AnyBody", bound=Body)


def read(model: type[AnyBody], raw: bytes) -> AnyBody:
    """The body, or a :class:`RequestError` naming the first field that is wrong."""
    try:
        return model.model_validate_json(raw)
    except ValidationError as invalid:
        raise from_validation(model, invalid) from None


def _list_or_one(value: Any) -> str:
    return ":list" if isinstance(value, list) else ":one"


def _lists_or_ids(value: Any) -> str:
    return ":lists" if isinstance(value, list) and value and isinstance(value[0], list) else ":ids"


def _entry_kind(value: Any) -> str:
    return ":none" if value is None else _list_or_one(value)


def _sampling(value: Any) -> Any:
    """Nulls dropped, one stop string made a list of it, lists made tuples, ids that are keys made numbers."""
    if not isinstance(value, Mapping):
        return value
    given = {name: item for name, item in value.items() if item is not None or name not in SAMPLING_FIELDS}
    return {name: engine_value(name, item) for name, item in given.items()}


def engine_value(name: str, value: Any) -> Any:
    """A sampling parameter as it came in JSON, as :class:`SamplingParams` holds it."""
    if isinstance(value, int) and abs(value) > LARGEST_INTEGER:
        raise ValueError(f"{name} does not fit in 64 bits")
    if name == "stop" and isinstance(value, str):
        return (value,)
    if name == "logit_bias" and isinstance(value, Mapping):
        return {int(key) if _ID.fullmatch(str(key)) else key: item for key, item in value.items()}
    return tuple(value) if isinstance(value, list) else value


def _engine_params(value: Any) -> SamplingParams:
    return SamplingParams(**vars(value))


Sampling = Annotated[WireSampling, BeforeValidator(_sampling), AfterValidator(_engine_params)]
OneSampling = Annotated[Sampling, Tag(":one")]
ManySamplings = Annotated[list[Sampling], Tag(":list")]
Integer = Annotated[int, Field(ge=-LARGEST_INTEGER, le=LARGEST_INTEGER)]
OneText = Annotated[str, Tag(":one")]
ManyTexts = Annotated[list[str], Tag(":list")]
FramesPerSecond = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NoImage = Annotated[None, Tag(":none")]
ImageEntry = Annotated[NoImage | OneText | ManyTexts, Discriminator(_entry_kind)]
ManyImageEntries = Annotated[list[ImageEntry], Tag(":list")]
OneIds = Annotated[list[int], Tag(":ids")]
ManyIds = Annotated[list[list[int]], Tag(":lists")]


class VideoBody(Body):
    """Frames in order, all of one size; none is left out or repeated."""

    frames: Annotated[OneText | ManyTexts, Discriminator(_list_or_one)]
    """Images, each as in ``image_data``. Or one string: an animated GIF, PNG or WebP, or ``data:video/jpeg;base64,``
    with commas between the frames."""
    fps: FramesPerSecond | None = None
    """Frames a second. Families that write or place frames by time refuse a video without it."""


OneVideo = Annotated[VideoBody, Tag(":one")]
ManyVideos = Annotated[list[VideoBody], Tag(":list")]
VideoEntry = Annotated[NoImage | OneVideo | ManyVideos, Discriminator(_entry_kind)]
ManyVideoEntries = Annotated[list[VideoEntry], Tag(":list")]


def _unless_null(choose: Callable[[Any], str]) -> Callable[[Any], str]:
    return lambda value: ":none" if value is None else choose(value)


class TensorBody(Body):
    dtype: Literal["float32", "float16", "bfloat16", "int32", "int64"] = "float32"
    shape: list[Annotated[int, Field(ge=0, le=2**31)]]
    data: str


class ProcessorOutputBody(Body):
    """What a Hugging Face processor made of this prompt and its images, placeholders expanded."""

    input_ids: list[int]
    tensors: dict[str, TensorBody] = Field(default_factory=dict)
    """By the processor's names, such as ``pixel_values`` and ``image_grid_thw``."""
    mrope_positions: list[list[Integer]] | None = None
    """Three rows of one number a token."""
    mrope_position_delta: Integer | None = None


OneOutput = Annotated[ProcessorOutputBody, Tag(":one")]
ManyOutputs = Annotated[list[ProcessorOutputBody | None], Tag(":list")]


class GenerateBody(Body):
    """``POST /generate``. ``text`` as a list, or ``input_ids`` as a list of lists, asks for several answers at once."""

    text: Annotated[NoImage | OneText | ManyTexts, Discriminator(_unless_null(_list_or_one))] = None
    """The prompt with special tokens written out, one image placeholder an image."""
    input_ids: Annotated[NoImage | OneIds | ManyIds, Discriminator(_unless_null(_lists_or_ids))] = None
    image_data: Annotated[NoImage | OneText | ManyImageEntries, Discriminator(_unless_null(_list_or_one))] = None
    """Data URIs or base64. For a list of prompts: a list with an entry for each."""
    video_data: Annotated[NoImage | OneVideo | ManyVideoEntries, Discriminator(_unless_null(_list_or_one))] = None
    """Videos, nested as images are."""
    processor_output: Annotated[NoImage | OneOutput | ManyOutputs, Discriminator(_unless_null(_list_or_one))] = None
    """What a Hugging Face processor made of the prompt already. May stand alone; its ids are the prompt then."""
    sampling_params: Annotated[NoImage | OneSampling | ManySamplings, Discriminator(_unless_null(_list_or_one))] = None
    return_logprob: bool = False
    top_logprobs_num: Integer = 0
    """Likeliest tokens to report in each place that has a log-probability."""
    logprob_start_len: Integer = -1
    """First position of the prompt whose log-probability is wanted; -1: of none. Counted in the prompt as run, with
    placeholders expanded (strands-sglang#33). The first position and those of image features are null."""
    return_prompt_token_ids: bool = False
    """``meta_info.prompt_token_ids``: the prompt's ids as run, placeholders expanded."""
    return_evidence: bool = False
    stream: bool = False


class TextPart(Body):
    type: Literal["text"]
    text: str


class ImageUrl(Body):
    url: str
    """A data URI or base64."""
    detail: Literal["auto", "low", "high"] | None = None
    """Accepted for OpenAI's clients; the checkpoint's own processor decides the size."""


class ImagePart(Body):
    type: Literal["image_url"]
    image_url: ImageUrl


class VideoUrl(Body):
    url: str
    """What ``frames`` of ``video_data`` may be as one string."""


class VideoUrlPart(Body):
    type: Literal["video_url"]
    video_url: VideoUrl
    fps: FramesPerSecond | None = None


class VideoPart(Body):
    """As Qwen's messages have it."""

    type: Literal["video"]
    video: list[str]
    """Frames in order, each as an image's ``url``."""
    fps: FramesPerSecond | None = None


PART_TYPES = ("text", "image_url", "video_url", "video")


def _part_kind(value: Any) -> str | None:
    kind = value.get("type") if isinstance(value, Mapping) else getattr(value, "type", None)
    return f":{kind}" if kind in PART_TYPES else None


Part = Annotated[
    Annotated[TextPart, Tag(":text")]
    | Annotated[ImagePart, Tag(":image_url")]
    | Annotated[VideoUrlPart, Tag(":video_url")]
    | Annotated[VideoPart, Tag(":video")],
    Discriminator(
        _part_kind,
        custom_error_type="part_type",
        custom_error_message=f"A part is an object with a type: {', '.join(PART_TYPES)}",
    ),
]


class Message(Body):
    role: Literal["system", "user", "assistant"]
    content: Annotated[OneText | Annotated[list[Part], Tag(":list")], Discriminator(_list_or_one)]


def _or_none_sent(value: Any) -> Any:
    return [] if value is None else value


class StreamOptions(Body):
    include_usage: bool = False


OPENAI_NAMES = {"max_new_tokens": "max_tokens", "min_new_tokens": "min_tokens"}
"""Sampling fields that have another name beside OpenAI's own; the others keep theirs."""
_OPENAI_TYPES: dict[Any, Any] = {
    int: Integer,
    int | None: Integer,
    tuple[int, ...]: list[int],
    tuple[str, ...]: Annotated[NoImage | OneText | ManyTexts, Discriminator(_unless_null(_list_or_one))],
    Mapping[int, float]: dict[int, float],
}

if TYPE_CHECKING:
    OpenAISampling = Body
else:
    OpenAISampling = pydantic.create_model(
        "OpenAISampling",
        __base__=Body,
        **{
            OPENAI_NAMES.get(name, name): (_OPENAI_TYPES.get(hint, hint) | None, None)
            for name, hint in get_type_hints(SamplingParams).items()
        },
    )


def _prompt_kind(value: Any) -> str:
    first = value[0] if isinstance(value, list) and value else None
    if not isinstance(value, list):
        return ":one"
    return ":list" if isinstance(first, str) else ":lists" if isinstance(first, list) else ":ids"


class CompletionBody(OpenAISampling):
    """``POST /v1/completions``. Left-out sampling fields are the engine's defaults: greedy, not temperature 1."""

    model: str | None = None
    prompt: Annotated[OneText | ManyTexts | OneIds | ManyIds, Discriminator(_prompt_kind)]
    """Text with special tokens written out, or token ids; or a list of either, for several prompts at once."""
    logprobs: Integer | None = None
    """Log-probabilities of the tokens, with so many of the likeliest in each place."""
    echo: Literal[False] | None = None
    """Not done: the prompt's log-probabilities are to be had from ``/generate``."""
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    return_evidence: bool = False


class ChatBody(OpenAISampling):
    """``POST /v1/chat/completions``. Left-out sampling fields are the engine's defaults: greedy, not temperature 1."""

    model: str | None = None
    messages: Annotated[list[Message], BeforeValidator(_or_none_sent)] = Field(default_factory=list)
    """May be left out beside ``input_ids``; images are taken from them all the same."""
    input_ids: list[int] | None = None
    """The prompt, one placeholder an image or expanded already: nothing is rendered or tokenized."""
    processor_output: ProcessorOutputBody | None = None
    """What a Hugging Face processor made of the prompt and the images already."""
    return_prompt_token_ids: bool = False
    """``prompt_token_ids`` of every choice: the prompt's ids as run, placeholders expanded. Not in a stream."""
    return_meta_info: bool = False
    """``meta_info`` of every choice, as ``/generate`` gives it, with ``output_ids``. Not in a stream."""
    max_tokens: Integer | None = None
    max_completion_tokens: Integer | None = None
    logprobs: bool | None = None
    top_logprobs: Integer | None = None
    logprob_start_len: Integer | None = None
    """As in ``/generate``; what was found is in ``meta_info``, so it needs ``return_meta_info``."""
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    return_evidence: bool = False
