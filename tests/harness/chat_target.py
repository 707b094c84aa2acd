"""The reference engine asked as any server that speaks OpenAI's chat, and no more."""

from __future__ import annotations

from typing import ClassVar

from harness.targets.base import Launch, LaunchLine
from harness.targets.openai import OpenAITarget
from harness.targets.reference import ReferenceTarget


class ChatTarget(OpenAITarget):
    name: ClassVar[str] = "chat"

    def launch_line(self, launch: Launch) -> LaunchLine:
        return ReferenceTarget().launch_line(launch)

    def ready_url(self, log: str) -> str | None:
        return ReferenceTarget().ready_url(log)
