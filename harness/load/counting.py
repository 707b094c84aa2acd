"""Tokens of a prompt by our own prediction, so that throughput counts images as what they cost.

What clients and servers report has been wrong by 2 to 160 times, in either direction (sglang#38035, sglang#40356,
vllm-omni#4459). A prediction needs a checkpoint's configuration and processor files; of families that are not known
there is none, and the reason is told.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.load.timing import Load
from harness.observation import Prompt
from harness.targets.base import Target

if TYPE_CHECKING:
    from reference_engine.predict import Predictor


@dataclass(frozen=True)
class Counted:
    """Of one prompt as an engine must run it. ``image_tokens`` are the placeholders among them, of videos too."""

    prompt_tokens: int
    image_tokens: int


@dataclass(frozen=True)
class Counts:
    """By request name; empty with the ``reason`` where the checkpoint's family is not known."""

    by_request: Mapping[str, Counted]
    reason: str = ""

    def put_in(self, load: Load) -> Load:
        """``load`` with our counts in every timing that has one."""
        timings = []
        for timing in load.timings:
            if found := self.by_request.get(timing.request):
                timing = replace(timing, predicted_tokens=found.prompt_tokens, image_tokens=found.image_tokens)
            timings.append(timing)
        return replace(load, timings=tuple(timings))


def count_tokens(checkpoint: Path, prompts: Sequence[Prompt], target: Target) -> Counts:
    """Of each prompt as ``target`` sends it: by its ids, or through the checkpoint's chat template."""
    from reference_engine.config import EngineConfig
    from reference_engine.errors import ConfigError, RequestError
    from reference_engine.predict import Predictor

    try:
        predictor = Predictor(EngineConfig(model=str(checkpoint)))
        count = _of_ids(predictor) if "input_ids" not in target.lacks else _of_messages(predictor, target)
        return Counts({prompt.name: count(prompt) for prompt in prompts})
    except (ConfigError, RequestError, OSError, ValueError) as error:
        return Counts({}, f"no prediction for {checkpoint.name}: {error}")


def _of_ids(predictor: Predictor) -> Callable[[Prompt], Counted]:
    from reference_engine.multimodal.placeholders import VideoSize
    from reference_engine.request import Request

    def count(prompt: Prompt) -> Counted:
        sizes = [(picture.width, picture.height) for picture in prompt.pictures]
        clips = [VideoSize(c.frames[0].width, c.frames[0].height, len(c.frames), c.fps) for c in prompt.clips]
        told = predictor.predict(Request(prompt.name, input_ids=list(prompt.ids)), sizes, clips)
        return Counted(len(told.prompt_ids), sum(sum(item.placeholders) for item in told.items))

    return count


def _of_messages(predictor: Predictor, target: Target) -> Callable[[Prompt], Counted]:
    from reference_engine.server.chat import ChatPrompts
    from reference_engine.server.limits import Limits
    from reference_engine.server.predicting import answer_predict

    chats, limits = ChatPrompts(predictor.codec), Limits()

    def count(prompt: Prompt) -> Counted:
        messages = target.call(prompt, evidence=False, stream=True).body["messages"]
        told: Any = answer_predict(json.dumps({"messages": messages}).encode(), predictor, chats, limits)
        return Counted(told["usage"]["prompt_tokens"], sum(sum(item["placeholders"]) for item in told["items"]))

    return count
