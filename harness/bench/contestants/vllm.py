"""vLLM, its engine in this process. Caches that would remember an earlier round are off, or reset before each.

Needs an environment of vLLM's own (``ci/bench_environment.sh vllm DIRECTORY``).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, ClassVar

os.environ |= {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind", "HF_HUB_OFFLINE": "1", "VLLM_HOST_IP": "127.0.0.1",
}  # fmt: skip
os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")

import torch
from vllm import LLM, SamplingParams

from harness.bench.contestants.base import Contestant, Door, Setup
from harness.bench.pictures import open_pictures
from harness.observation import Prompt


class VLLM(Contestant):
    packages: ClassVar[tuple[str, ...]] = ("torch", "transformers", "vllm")

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        torch.set_num_threads(setup.threads)
        options: dict[str, Any] = {
            "dtype": setup.dtype, "enable_prefix_caching": False, "mm_processor_cache_gb": 0, "max_num_seqs": 64,
            "max_model_len": 2048, "limit_mm_per_prompt": {"image": 8}, "skip_tokenizer_init": False,
            "enforce_eager": True,
        }  # fmt: skip
        self.engine = LLM(setup.model, **(options | dict(setup.options))).llm_engine
        torch.set_num_threads(setup.threads)

    def prepare(self, prompts: Sequence[Prompt]) -> None:
        self._inputs = {prompt.name: _as_input(prompt) for prompt in prompts}
        self.engine.reset_mm_cache()
        self.engine.reset_encoder_cache()

    def serve(self, door: Door) -> None:
        while door.is_open or self.engine.has_unfinished_requests():
            if not self.engine.has_unfinished_requests():
                door.wait()
            for prompt in door.arrived():
                sampling = SamplingParams(temperature=0.0, max_tokens=prompt.max_new_tokens, ignore_eos=True)
                sampling.detokenize = bool(prompt.pictures)
                self.engine.add_request(prompt.name, self._inputs[prompt.name], sampling)
            for output in self.engine.step():
                if output.finished:
                    door.answer(output.request_id, output.outputs[0].token_ids)


def _as_input(prompt: Prompt) -> dict[str, Any]:
    images = open_pictures(prompt)
    return {"prompt_token_ids": list(prompt.ids)} | ({"multi_modal_data": {"image": images}} if images else {})
