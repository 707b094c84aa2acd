"""The reference engine asked as any server that speaks OpenAI's chat, and no more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from harness.observation import Observation, Prompt
from harness.targets.base import Launch, LaunchLine
from harness.targets.openai import OpenAITarget
from harness.targets.reference import ReferenceTarget


class ChatTarget(OpenAITarget):
    name: ClassVar[str] = "chat"

    def launch_line(self, launch: Launch) -> LaunchLine:
        return ReferenceTarget().launch_line(launch)

    def ready_url(self, log: str) -> str | None:
        return ReferenceTarget().ready_url(log)


class LosingTarget(ChatTarget):
    """As if the server lost an event of each stream, and answered another choice with nothing."""

    name: ClassVar[str] = "losing"

    def read_stream(self, prompt: Prompt, setting: str, events: Sequence[Mapping[str, Any]]) -> Observation:
        return super().read_stream(prompt, setting, [*events[:2], *events[3:]])

    def read_choices(self, prompt: Prompt, setting: str, status: int, body: Any) -> list[Observation]:
        first, *others = super().read_choices(prompt, setting, status, body)
        return [first, *(replace(one, text="") for one in others)]
