"""Contestants without a model: an answer follows from the prompt, at a price the test sets. One can be told to err."""

from __future__ import annotations

import time

from harness.bench.contestants.base import Contestant, Door


class Echo(Contestant):
    """Answers with the last ids of the prompt. Options: ``seconds`` a request, ``wrong``: the request to get wrong."""

    packages = ()

    def serve(self, door: Door) -> None:
        while door.is_open:
            door.wait()
            for prompt in door.arrived():
                end = time.process_time() + float(self.setup.options.get("seconds", 0.0))
                while time.process_time() < end:
                    pass
                ids = list(prompt.ids[-prompt.max_new_tokens :])
                if prompt.name == self.setup.options.get("wrong"):
                    ids[-1] += 1
                door.answer(prompt.name, ids)

    def describe(self) -> dict[str, str]:
        return {}


class Broken(Echo):
    def __init__(self, setup: object) -> None:
        raise ModuleNotFoundError("No module named 'rival'")
