"""The types that bodies are declared with, strict in every way: nothing is taken for something else, and ``null`` means
"not given". A tag that starts with a colon tells the members of a union apart, and is no part of a field's name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import pydantic
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
)

from reference_engine.sampling_params import LARGEST_INTEGER, SamplingParams
from reference_engine.server.errors import from_validation

STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
SAMPLING_FIELDS = tuple(f.name for f in fields(SamplingParams))
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


def list_or_one(value: Any) -> str:
    return ":list" if isinstance(value, list) else ":one"


def lists_or_ids(value: Any) -> str:
    return ":lists" if isinstance(value, list) and value and isinstance(value[0], list) else ":ids"


def entry_kind(value: Any) -> str:
    return ":none" if value is None else list_or_one(value)


def unless_null(choose: Callable[[Any], str]) -> Callable[[Any], str]:
    return lambda value: ":none" if value is None else choose(value)


def _sampling(value: Any) -> Any:
    """Nulls dropped, one stop string made a list of it, lists made tuples, ids that are keys made numbers."""
    if not isinstance(value, Mapping):
        return value
    given = {name: item for name, item in value.items() if item is not None or name not in SAMPLING_FIELDS}
    return {name: engine_value(name, item) for name, item in given.items()}


def engine_value(name: str, value: Any) -> Any:
    """A sampling parameter as it came in JSON, as :class:`SamplingParams` holds it."""
    if name == "stop" and isinstance(value, str):
        return (value,)
    if name == "logit_bias" and isinstance(value, Mapping):
        return {int(key) if _ID.fullmatch(str(key)) else key: item for key, item in value.items()}
    return tuple(value) if isinstance(value, list) else value


def _engine_params(value: Any) -> SamplingParams:
    return SamplingParams(**vars(value))


Sampling = Annotated[WireSampling, BeforeValidator(_sampling), AfterValidator(_engine_params)]
FIRST_ONLY = Field(fail_fast=True)
"""Of the entries of a list that are wrong the first is told of: a million of them would be a million errors."""
OneSampling = Annotated[Sampling, Tag(":one")]
ManySamplings = Annotated[list[Sampling], FIRST_ONLY, Tag(":list")]
Integer = Annotated[int, Field(ge=-LARGEST_INTEGER, le=LARGEST_INTEGER)]
Ids = Annotated[list[int], FIRST_ONLY]
OneText = Annotated[str, Tag(":one")]
ManyTexts = Annotated[list[str], FIRST_ONLY, Tag(":list")]
FramesPerSecond = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotGiven = Annotated[None, Tag(":none")]
ImageEntry = Annotated[NotGiven | OneText | ManyTexts, Discriminator(entry_kind)]
ManyImageEntries = Annotated[list[ImageEntry], FIRST_ONLY, Tag(":list")]
OneIds = Annotated[Ids, Tag(":ids")]
ManyIds = Annotated[list[Ids], FIRST_ONLY, Tag(":lists")]
TextsField = Annotated[NotGiven | OneText | ManyTexts, Discriminator(unless_null(list_or_one))]
Rid = Annotated[str, Field(min_length=1, max_length=200)]
"""A request's name, given by the caller: see ``/abort``."""
RidsField = Annotated[
    NotGiven | Annotated[Rid, Tag(":one")] | Annotated[list[Rid], FIRST_ONLY, Tag(":list")],
    Discriminator(unless_null(list_or_one)),
]
