"""The stand-in engine as a target. ``STANDIN_FLAGS`` (setting or ``*`` -> flags, as JSON) makes launches misbehave."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import ClassVar

from harness.targets.base import Launch, LaunchLine
from harness.targets.reference import ReferenceTarget


class StandinTarget(ReferenceTarget):
    name: ClassVar[str] = "stand-in"
    command: ClassVar[tuple[str, ...]] = (str(Path(__file__).with_name("standin.py")),)

    def __init__(self, flags: dict[str, list[str]] | None = None) -> None:
        self.flags = json.loads(os.environ.get("STANDIN_FLAGS", "{}")) if flags is None else flags

    def launch_line(self, launch: Launch) -> LaunchLine:
        line = super().launch_line(launch)
        extra = [
            flag
            for setting, flags in self.flags.items()
            if setting in (*launch.toggles.values(), "*")
            for flag in flags
        ]
        return LaunchLine((*line.argv, *extra), line.env)
