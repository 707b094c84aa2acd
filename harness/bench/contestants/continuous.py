"""transformers' continuous batching, which serves text only. One manager for all rounds, prefix sharing off."""

from __future__ import annotations

from transformers import ContinuousBatchingConfig

from harness.bench.contestants.base import IDLE_SECONDS, Contestant, Door, Setup
from harness.bench.contestants.generate import load_model

NO_END = -1


class ContinuousBatching(Contestant):
    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        model = load_model(setup)
        model.generation_config.do_sample = False
        config = ContinuousBatchingConfig(allow_block_sharing=False, **setup.options)
        self.manager = model.init_continuous_batching(model.generation_config, config)
        self.manager.warmup()
        self.manager.start()

    def serve(self, door: Door) -> None:
        waiting = 0
        while door.is_open or waiting:
            if not waiting:
                door.wait()
            for prompt in door.arrived():
                if prompt.pictures:
                    raise ValueError(f"{prompt.name}: continuous batching in transformers takes no images")
                new = prompt.max_new_tokens
                self.manager.add_request(list(prompt.ids), prompt.name, max_new_tokens=new, eos_token_id=NO_END)
                waiting += 1
            result = self.manager.get_result(timeout=IDLE_SECONDS)
            if result is not None and result.is_finished():
                door.answer(result.request_id, result.generated_tokens, error=result.error)
                waiting -= 1
            elif result is None and not self.manager.is_running():
                raise RuntimeError("the continuous batching manager ended")

    def close(self) -> None:
        self.manager.stop(block=True, timeout=5)
