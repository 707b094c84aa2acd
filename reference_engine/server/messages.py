"""Chat messages, their parts and tools, as OpenAI writes them; videos as Qwen's messages have them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Tag, model_validator

from reference_engine.server.field_types import FIRST_ONLY, Body, FramesPerSecond, NotGiven, OneText, entry_kind


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
    video: Annotated[list[str], FIRST_ONLY]
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


class FunctionCall(Body):
    name: str
    arguments: str
    """A JSON object, as text."""


class ToolCall(Body):
    id: str | None = None
    type: Literal["function"] = "function"
    function: FunctionCall


class Message(Body):
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Annotated[
        NotGiven | OneText | Annotated[list[Part], FIRST_ONLY, Tag(":list")], Discriminator(entry_kind)
    ] = None
    """Only an assistant's with ``tool_calls`` may be left out."""
    name: str | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None

    @model_validator(mode="after")
    def _fits_its_role(self) -> Message:
        for name, role in (("tool_calls", "assistant"), ("tool_call_id", "tool")):
            if getattr(self, name) is not None and self.role != role:
                raise ValueError(f"{name} is for role {role!r}, not {self.role!r}")
        if self.content is None and not self.tool_calls:
            raise ValueError("content is missing")
        return self


class FunctionTool(Body):
    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(Body):
    type: Literal["function"]
    function: FunctionTool


ToolsField = Annotated[list[Tool], FIRST_ONLY] | None
MessagesField = Annotated[list[Message], FIRST_ONLY] | None
OneChat = Annotated[list[Message], FIRST_ONLY, Tag(":messages")]
ManyChats = Annotated[list[Annotated[list[Message], FIRST_ONLY]], FIRST_ONLY, Tag(":lists")]
