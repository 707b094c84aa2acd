"""Tokens of a prompt by our own prediction, so that throughput counts images as what they cost.

What clients and servers report has been wrong by 2 to 160 times, in either direction (sglang#38035, sglang#40356,
vllm-omni#4459). A prediction needs a checkpoint's configuration and processor files; of families that are not known
there is none, and the reason is told.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harness.load.timing import Load
from harness.observation import Prompt


@dataclass(frozen=True)
class Counted:
    """Of one prompt as an engine must run it. ``image_tokens`` are the placeholders among them."""

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


def count_tokens(checkpoint: Path, prompts: Sequence[Prompt]) -> Counts:
    from reference_engine.config import EngineConfig
    from reference_engine.errors import ConfigError, RequestError
    from reference_engine.predict import Predictor
    from reference_engine.request import Request

    try:
        predictor = Predictor(EngineConfig(model=str(checkpoint)))
        found = {}
        for prompt in prompts:
            sizes = [(picture.width, picture.height) for picture in prompt.pictures]
            told = predictor.predict(Request(prompt.name, input_ids=list(prompt.ids)), sizes)
            found[prompt.name] = Counted(len(told.prompt_ids), sum(sum(item.placeholders) for item in told.items))
    except (ConfigError, RequestError, OSError, ValueError) as error:
        return Counts({}, f"no prediction for {checkpoint.name}: {error}")
    return Counts(found)
