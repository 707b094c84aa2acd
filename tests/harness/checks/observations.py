"""Small made-up prompts and answers for judging the judges."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from harness.observation import ItemSeen, Observation, Picture, Prompt

PAD, JOINER = 99, (98, 97)
PICTURE = Picture(b"png", 28, 28)


def prompt(name: str = "p", *, expected: str = "7", drift: int = 0, spans: tuple[int, ...] = ()) -> Prompt:
    """Sent as ``1 97 PAD 98 2 3``: one picture between its marks."""
    return Prompt(name, (1, 97, PAD, 98, 2, 3), (PICTURE,), "read", expected, drift=drift, spans_per_item=spans)


def answer(name: str = "p", setting: str = "on", **changes: Any) -> Observation:
    """Ran as sent, the picture as four tokens; right."""
    seen = Observation(
        name,
        setting,
        200,
        text="7",
        output_ids=(7, 0),
        prompt_tokens=9,
        prompt_ids=(1, 97, PAD, PAD, PAD, PAD, 98, 2, 3),
        items=(ItemSeen(0, ((2, 5),), (4,)),),
        encoder_batch=1,
    )
    return replace(seen, **changes)


def refused(name: str = "p", setting: str = "on", **changes: Any) -> Observation:
    return replace(Observation(name, setting, 500, error="no"), **changes)
