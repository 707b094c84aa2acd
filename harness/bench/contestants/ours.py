"""The reference engine in process. Its options are fields of ``EngineConfig``."""

from __future__ import annotations

from collections.abc import Sequence

from harness.bench.contestants.base import Contestant, Door, Setup
from harness.bench.pictures import open_pictures
from harness.observation import Prompt
from reference_engine.config import EngineConfig
from reference_engine.engine import Engine
from reference_engine.request import Request
from reference_engine.sampling_params import SamplingParams

FIGURES = {"encoder_seconds": "encoder_seconds_total", "steps": "steps_total"}
"""What is reported of it -> the engine's own counter."""


class Ours(Contestant):
    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        settings = {"model": setup.model, "device": setup.device, "dtype": setup.dtype}
        self.engine = Engine(EngineConfig.from_mapping(settings | dict(setup.options)))

    def prepare(self, prompts: Sequence[Prompt]) -> None:
        self._requests = {prompt.name: as_request(prompt) for prompt in prompts}

    def serve(self, door: Door) -> None:
        engine = self.engine
        while door.is_open or engine.has_work():
            if not engine.has_work():
                door.wait()
            for prompt in door.arrived():
                engine.submit(self._requests[prompt.name])
            for output in engine.step():
                if (answer := output.answer) is not None:
                    error = None if answer.error is None else str(answer.error)
                    door.answer(answer.request_id, answer.output_ids, error=error)

    def figures(self) -> dict[str, float]:
        counters = self.engine.counters()
        return {name: counters[counter] for name, counter in FIGURES.items()}


def as_request(prompt: Prompt) -> Request:
    sampling = SamplingParams(max_new_tokens=prompt.max_new_tokens, ignore_eos=prompt.ignore_eos)
    return Request(prompt.name, input_ids=list(prompt.ids), images=open_pictures(prompt), sampling=sampling)
