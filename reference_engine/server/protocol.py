"""What may be sent, each field declared once. Unknown fields and wrong types are refused by name.

``null`` means "not given". Names of ``/generate`` are SGLang's, names of ``/v1/chat/completions`` OpenAI's; the
sampling fields are those of :class:`reference_engine.request.SamplingParams`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_type_hints

import pydantic
from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from reference_engine.sampling_params import SamplingParams
from reference_engine.server.field_types import (
    FIRST_ONLY,
    Body,
    FramesPerSecond,
    Ids,
    Integer,
    ManyIds,
    ManyImageEntries,
    ManySamplings,
    ManyTexts,
    NotGiven,
    OneIds,
    OneSampling,
    OneText,
    Rid,
    RidsField,
    TextsField,
    entry_kind,
    list_or_one,
    lists_or_ids,
    unless_null,
)
from reference_engine.server.messages import ManyChats, Message, OneChat, ToolsField


class VideoBody(Body):
    """Frames in order, all of one size; none is left out or repeated."""

    frames: Annotated[OneText | ManyTexts, Discriminator(list_or_one)]
    """Images, each as in ``image_data``. Or one string: an animated GIF, PNG or WebP, or ``data:video/jpeg;base64,``
    with commas between the frames."""
    fps: FramesPerSecond | None = None
    """Frames a second. Families that write or place frames by time refuse a video without it."""


OneVideo = Annotated[VideoBody, Tag(":one")]
ManyVideos = Annotated[list[VideoBody], FIRST_ONLY, Tag(":list")]
VideoEntry = Annotated[NotGiven | OneVideo | ManyVideos, Discriminator(entry_kind)]
ManyVideoEntries = Annotated[list[VideoEntry], FIRST_ONLY, Tag(":list")]


class TensorBody(Body):
    dtype: Literal["float32", "float16", "bfloat16", "int32", "int64"] = "float32"
    shape: Annotated[list[Annotated[int, Field(ge=0, le=2**31)]], FIRST_ONLY]
    data: str


class ProcessorOutputBody(Body):
    """What a Hugging Face processor made of this prompt and its images, placeholders expanded."""

    input_ids: Ids
    tensors: dict[str, TensorBody] = Field(default_factory=dict)
    """By the processor's names, such as ``pixel_values`` and ``image_grid_thw``."""
    mrope_positions: Annotated[list[Annotated[list[Integer], FIRST_ONLY]], FIRST_ONLY] | None = None
    """Three rows of one number a token."""
    mrope_position_delta: Integer | None = None


OneOutput = Annotated[ProcessorOutputBody, Tag(":one")]
ManyOutputs = Annotated[list[ProcessorOutputBody | None], FIRST_ONLY, Tag(":list")]


def _lists_or_messages(value: Any) -> str:
    return ":lists" if lists_or_ids(value) == ":lists" else ":messages"


class GenerateBody(Body):
    """``POST /generate``. ``text`` as a list, or ``input_ids`` or ``messages`` as a list of lists, asks for several
    answers at once."""

    text: TextsField = None
    """The prompt with special tokens written out, one image placeholder an image."""
    input_ids: Annotated[NotGiven | OneIds | ManyIds, Discriminator(unless_null(lists_or_ids))] = None
    messages: Annotated[NotGiven | OneChat | ManyChats, Discriminator(unless_null(_lists_or_messages))] = None
    """A chat, which the checkpoint's template makes the prompt of; media are parts of its messages."""
    tools: ToolsField = None
    """Functions that the chat template tells the model of, as OpenAI writes them."""
    image_data: Annotated[NotGiven | OneText | ManyImageEntries, Discriminator(unless_null(list_or_one))] = None
    """Data URIs or base64. For a list of prompts: a list with an entry for each."""
    video_data: Annotated[NotGiven | OneVideo | ManyVideoEntries, Discriminator(unless_null(list_or_one))] = None
    """Videos, nested as images are."""
    processor_output: Annotated[NotGiven | OneOutput | ManyOutputs, Discriminator(unless_null(list_or_one))] = None
    """What a Hugging Face processor made of the prompt already. May stand alone; its ids are the prompt then."""
    rid: RidsField = None
    """The request's own name, for ``/abort``; for a list of prompts, a list. Made up if left out."""
    sampling_params: Annotated[NotGiven | OneSampling | ManySamplings, Discriminator(unless_null(list_or_one))] = None
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


def _or_none_sent(value: Any) -> Any:
    return [] if value is None else value


class JsonSchemaFormat(Body):
    name: str | None = None
    description: str | None = None
    schema_value: dict[str, Any] = Field(alias="schema")
    strict: bool | None = None
    """Held to in either case."""


class ResponseFormat(Body):
    """What the answer must be. Its text is held to that token by token; the prompt is not changed."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchemaFormat | None = None

    @model_validator(mode="after")
    def _is_whole(self) -> ResponseFormat:
        if (self.json_schema is None) == (self.type == "json_schema"):
            raise ValueError("json_schema belongs to type 'json_schema'")
        return self

    @property
    def schema_text(self) -> str | None:
        """The JSON schema to hold an answer to; None of plain text."""
        if self.json_schema is not None:
            return json.dumps(self.json_schema.schema_value)
        return '{"type": "object"}' if self.type == "json_object" else None


class StreamOptions(Body):
    include_usage: bool = False
    continuous_usage_stats: bool = False
    """``usage`` in every event: of its choice, so far (as vLLM and SGLang have it)."""


OPENAI_NAMES = {"max_new_tokens": "max_tokens", "min_new_tokens": "min_tokens"}
"""Sampling fields that have another name beside OpenAI's own; the others keep theirs."""
_OPENAI_TYPES: dict[Any, Any] = {
    int: Integer,
    int | None: Integer,
    tuple[int, ...]: Ids,
    tuple[str, ...]: TextsField,
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
    rid: RidsField = None
    """The requests' own names, for ``/abort``: a string, or for a list of prompts a list."""
    response_format: ResponseFormat | None = None
    logprobs: Integer | None = None
    """Log-probabilities of the tokens, with so many of the likeliest in each place."""
    echo: bool | None = None
    """The prompt before every answer, its log-probabilities too if they are asked for. Not in a stream."""
    return_prompt_token_ids: bool = False
    """As in a chat, of every choice of every prompt."""
    return_meta_info: bool = False
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    return_evidence: bool = False


class ChatBody(OpenAISampling):
    """``POST /v1/chat/completions``. Left-out sampling fields are the engine's defaults: greedy, not temperature 1."""

    model: str | None = None
    messages: Annotated[list[Message], FIRST_ONLY, BeforeValidator(_or_none_sent)] = Field(default_factory=list)
    """May be left out beside ``input_ids``; images are taken from them all the same."""
    tools: ToolsField = None
    """Functions that the chat template tells the model of. Calls in the answer are text like any other."""
    tool_choice: Literal["auto", "none"] | None = None
    """"auto": the model decides, an answer is never forced into a call. "none": the template is told of no tools."""
    rid: Rid | None = None
    """The request's own name, for ``/abort``, in place of one made up."""
    input_ids: Ids | None = None
    """The prompt, one placeholder an image or expanded already: nothing is rendered or tokenized."""
    processor_output: ProcessorOutputBody | None = None
    """What a Hugging Face processor made of the prompt and the images already."""
    return_prompt_token_ids: bool = False
    """``prompt_token_ids`` of every choice: the prompt's ids as run, placeholders expanded. Not in a stream."""
    return_meta_info: bool = False
    """``meta_info`` of every choice, as ``/generate`` gives it, with ``output_ids``. Not in a stream."""
    max_tokens: Integer | None = None
    max_completion_tokens: Integer | None = None
    response_format: ResponseFormat | None = None
    logprobs: bool | None = None
    top_logprobs: Integer | None = None
    logprob_start_len: Integer | None = None
    """As in ``/generate``; what was found is in ``meta_info``, so it needs ``return_meta_info``."""
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    return_evidence: bool = False
